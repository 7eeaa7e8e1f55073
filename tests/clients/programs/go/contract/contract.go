// Package contract is what an application has, for the programs beside it: they are run as
// `PROGRAM URL TOKEN_FILE LAST_ID`, and say what they hear in lines of JSON.
package contract

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// URL is where the stream is; LastID is where to begin: after this event, or "".
var URL, LastID = os.Args[1], os.Args[3]

// GetToken returns a token that is valid now.
func GetToken() string {
	token, err := os.ReadFile(os.Args[2])
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(token))
}

// Show shows an event.
func Show(kind, data string) {
	line, err := json.Marshal(map[string]string{"type": kind, "data": data})
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

// SignIn says that the token is refused for good.
func SignIn() {
	fmt.Println(`{"refused": true}`)
}
