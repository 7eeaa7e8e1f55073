package main

import . "clients/contract"

// In docs/clients.rst:
import (
	"errors"
	"math/rand"
	"net/http"
	"time"

	"github.com/tmaxmax/go-sse"
)

var refused = errors.New("the token is refused")

func check(response *http.Response) error {
	if response.StatusCode == 401 || response.StatusCode == 403 {
		return refused
	}
	return sse.DefaultValidator(response)
}

type authorized struct{}

func (authorized) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "Bearer "+GetToken())
	return http.DefaultTransport.RoundTrip(request)
}

func listen(url, lastID string) error {
	client := sse.Client{
		HTTPClient:        &http.Client{Transport: authorized{}},
		ResponseValidator: check,
		Backoff:           sse.Backoff{MaxInterval: 30 * time.Second},
	}
	for {
		request, err := http.NewRequest("GET", url, nil)
		if err != nil {
			return err
		}
		if lastID != "" {
			request.Header.Set("Last-Event-ID", lastID)
		}
		connection := client.NewConnection(request)
		connection.Buffer(nil, 1<<20)
		connection.SubscribeToAll(func(event sse.Event) {
			lastID = event.LastEventID
			kind := event.Type
			if kind == "" {
				kind = "message"
			}
			Show(kind, event.Data)
		})
		// It comes back by itself, but not after a status other than 200.
		if err := connection.Connect(); errors.Is(err, refused) {
			return err
		}
		time.Sleep(time.Second + time.Duration(rand.Int63n(int64(4*time.Second))))
	}
}

// Until here.
func main() {
	if err := listen(URL, LastID); !errors.Is(err, refused) {
		panic(err)
	}
	SignIn()
}
