// A shop with sessions of its own, and nothing but Go's standard library.
//
//	PUBLISH_KEY=… go run .
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

//go:embed page.html
var html string
var page = template.Must(template.New("page").Parse(html))

var passwords = map[string]string{"alice": "wonderland"} // yours are hashed, and in the database

type shop struct {
	key      string // to publish with
	mu       sync.Mutex
	sessions map[string]string // session -> user
	orders   int
}

// isUserAuth answers aionotify, whose a token is.
func (s *shop) isUserAuth(w http.ResponseWriter, r *http.Request) {
	user := s.userOf(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	if user == "" {
		http.Error(w, "no such session", http.StatusUnauthorized)
		return
	}
	json.NewEncoder(w).Encode(map[string]string{"user_id": user})
}

func (s *shop) userOf(session string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[session]
}

// user returns whose session a request's cookie names, or an empty text.
func (s *shop) user(r *http.Request) string {
	cookie, err := r.Cookie("session")
	if err != nil {
		return ""
	}
	return s.userOf(cookie.Value)
}

func (s *shop) page(w http.ResponseWriter, r *http.Request) {
	if err := page.Execute(w, s.user(r)); err != nil {
		log.Print(err)
	}
}

func (s *shop) login(w http.ResponseWriter, r *http.Request) {
	user, password := r.PostFormValue("user"), r.PostFormValue("password")
	if known, ok := passwords[user]; !ok || known != password {
		http.Error(w, "wrong name or password", http.StatusUnauthorized)
		return
	}
	random := make([]byte, 32)
	if _, err := rand.Read(random); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	session := hex.EncodeToString(random)
	s.mu.Lock()
	s.sessions[session] = user
	s.mu.Unlock()
	http.SetCookie(w, &http.Cookie{
		Name: "session", Value: session, Path: "/",
		HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: r.Header.Get("X-Forwarded-Proto") == "https",
	})
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *shop) logout(w http.ResponseWriter, r *http.Request) {
	if cookie, err := r.Cookie("session"); err == nil && r.Method == http.MethodPost {
		s.mu.Lock()
		delete(s.sessions, cookie.Value)
		s.mu.Unlock()
	}
	http.SetCookie(w, &http.Cookie{Name: "session", Path: "/", MaxAge: -1})
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *shop) order(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "POST only", http.StatusMethodNotAllowed)
		return
	}
	user := s.user(r)
	if user == "" {
		http.Error(w, "sign in first", http.StatusUnauthorized)
		return
	}
	s.mu.Lock() // with a database, its transaction
	s.orders++
	order := s.orders
	s.mu.Unlock() // and tx.Commit(), before anybody is told

	if err := s.publish(r.Context(), event{
		RecipientID: user,
		Event:       "order.shipped",
		Data:        map[string]int{"order": order},
		ID:          fmt.Sprintf("order-%d-shipped", order),
	}); err != nil {
		log.Printf("%s was not told: %v", user, err)
	}
	w.WriteHeader(http.StatusNoContent)
}

type event struct {
	RecipientID string `json:"recipient_id"`
	Event       string `json:"event"`
	Data        any    `json:"data"`
	ID          string `json:"id"` // with one, it may be sent again and is delivered once
}

var client = &http.Client{Timeout: 5 * time.Second}

// publish stores an event; it tries up to five times, for three seconds when nobody answers.
func (s *shop) publish(ctx context.Context, e event) error {
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	for pause := 200 * time.Millisecond; ; pause *= 2 {
		again, err := s.post(ctx, body)
		if !again || pause > 2*time.Second {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// post sends an event once, and says whether it is worth to send it again.
func (s *shop) post(ctx context.Context, body []byte) (again bool, err error) {
	request, err := http.NewRequestWithContext(ctx, "POST", "http://127.0.0.1:8001/publish", bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	request.Header.Set("Authorization", "Bearer "+s.key)
	answer, err := client.Do(request)
	if err != nil {
		return true, err
	}
	defer answer.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<16))
	if answer.StatusCode == http.StatusAccepted {
		return false, nil
	}
	return answer.StatusCode >= 500, fmt.Errorf("/publish answered %d: %s", answer.StatusCode, said)
}

func main() {
	s := &shop{key: os.Getenv("PUBLISH_KEY"), sessions: map[string]string{}}
	http.HandleFunc("/api/v1/is_user_auth/", s.isUserAuth)
	http.HandleFunc("/login", s.login)
	http.HandleFunc("/logout", s.logout)
	http.HandleFunc("/orders", s.order)
	http.HandleFunc("/", s.page)
	log.Fatal(http.ListenAndServe("127.0.0.1:8000", nil))
}
