package main

import . "clients/contract"

// In docs/clients.rst:
import (
	"errors"
	"net/http"
	"time"

	"github.com/launchdarkly/eventsource"
)

type authorized struct{}

func (authorized) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "Bearer "+GetToken())
	return http.DefaultTransport.RoundTrip(request)
}

func check(err error) eventsource.StreamErrorHandlerResult {
	var answer eventsource.SubscriptionError
	refused := errors.As(err, &answer) && (answer.Code == 401 || answer.Code == 403)
	return eventsource.StreamErrorHandlerResult{CloseNow: refused}
}

func listen(url, lastID string) {
	stream, err := eventsource.SubscribeWithURL(
		url,
		eventsource.StreamOptionHTTPClient(&http.Client{Transport: authorized{}}),
		eventsource.StreamOptionLastEventID(lastID),
		eventsource.StreamOptionErrorHandler(check),
		eventsource.StreamOptionCanRetryFirstConnection(-1), // for ever
		eventsource.StreamOptionReadTimeout(40*time.Second),
		eventsource.StreamOptionUseBackoff(30*time.Second),
		eventsource.StreamOptionUseJitter(0.5),
	)
	if err != nil {
		return
	}
	for event := range stream.Events {
		kind := event.Event()
		if kind == "" {
			kind = "message"
		}
		Show(kind, event.Data())
	}
}

// Until here.
func main() {
	listen(URL, LastID)
	SignIn()
}
