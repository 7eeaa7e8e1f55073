package main

import . "clients/contract"

// In docs/clients.rst:
import (
	"encoding/json"
	"errors"
	"math/rand"
	"net/http"
	"time"

	"github.com/r3labs/sse/v2"
	"gopkg.in/cenkalti/backoff.v1"
)

var refused = errors.New("the token is refused")

func check(_ *sse.Client, response *http.Response) error {
	switch response.StatusCode {
	case 200:
		return nil
	case 401, 403:
		return refused
	}
	return errors.New(response.Status)
}

func listen(url, lastID string) {
	for {
		client := sse.NewClient(url, sse.ClientMaxBufferSize(1<<20))
		client.Headers["Authorization"] = "Bearer " + GetToken()
		client.LastEventID.Store([]byte(lastID))
		client.ReconnectStrategy = &backoff.StopBackOff{} // the loop is ours
		client.ResponseValidator = check
		err := client.SubscribeRaw(func(event *sse.Event) {
			if !json.Valid(event.Data) {
				return // half an event: the connection broke there
			}
			lastID = string(event.ID)
			kind := string(event.Event)
			if kind == "" {
				kind = "message"
			}
			Show(kind, string(event.Data))
		})
		if errors.Is(err, refused) {
			return
		}
		time.Sleep(time.Second + time.Duration(rand.Int63n(int64(4*time.Second))))
	}
}

// Until here.
func main() {
	listen(URL, LastID)
	SignIn()
}
