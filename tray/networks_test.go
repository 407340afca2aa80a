package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"lanyard/service/ipc"
	"lanyard/service/login"
	"lanyard/tray/menu"
)

// A program waits for a sign-in in another network while one is open here: the click takes the person there, and the one
// that was left cannot end it.
func TestLogInForAnotherNetworkLeavesTheOpenOne(t *testing.T) {
	s := newStage(t)
	begun, release := make(chan string, 10), make(chan struct{})
	ordinary := s.tray.person
	s.tray.person = func(profile string) person {
		me := ordinary(profile)
		me.login = func(ctx context.Context, _ string, asked func(login.Asked)) (*login.Result, error) {
			begun <- profile
			asked(login.Asked{Code: profile, URL: "https://page"})
			<-ctx.Done()
			if profile == "default" {
				select {
				case <-release:
				case <-t.Context().Done():
				}
			}
			return nil, context.Cause(ctx)
		}
		return me
	}
	s.play()
	for _, c := range []struct {
		click menu.Action
		in    string
	}{{menu.Action{Verb: menu.LogIn}, "default"}, {menu.Action{Verb: logInFor, Arg: "prod"}, "prod"}} {
		s.click(c.click)
		select {
		case got := <-begun:
			if got != c.in {
				t.Fatalf("a sign-in to %s began, want %s", got, c.in)
			}
		case <-time.After(time.Minute):
			t.Fatalf("no sign-in to %s began", c.in)
		}
	}
	asking := func() (code string) {
		seen := make(chan struct{})
		s.do(func() {
			if s.asked != nil {
				code = s.asked.Code
			}
			close(seen)
		})
		<-seen
		return code
	}
	until(t, time.Minute, func() error {
		if code := asking(); code != "prod" {
			return fmt.Errorf("the menu shows the code %q", code)
		}
		return nil
	})
	close(release)
	for range 20 { // the end of the first has no event to wait for
		time.Sleep(10 * time.Millisecond)
		if code := asking(); code != "prod" {
			t.Fatalf("after the end of the first the menu shows the code %q", code)
		}
	}
}

// How a refresh went in one network is not said of another.
func TestRefreshThatEndsInAnotherNetworkSaysNothingThere(t *testing.T) {
	s := newStage(t)
	begun, release := make(chan struct{}), make(chan struct{})
	ordinary := s.tray.person
	s.tray.person = func(profile string) person {
		me := ordinary(profile)
		me.refresh = func(context.Context, string) error {
			close(begun)
			select {
			case <-release:
			case <-t.Context().Done():
			}
			return login.ErrLoginNeeded
		}
		return me
	}
	s.play()
	s.settle()
	s.clock.move(40 * time.Minute)
	<-begun
	s.click(menu.Action{Verb: menu.SetProfile, Arg: "prod"})
	close(release)
	until(t, time.Minute, func() (err error) {
		seen := make(chan struct{})
		s.do(func() {
			if s.keeping || s.profile != "prod" {
				err = errors.New("the refresh goes on")
			} else if s.trouble != "" {
				t.Errorf("said of the other network: %s", s.trouble)
			}
			close(seen)
		})
		<-seen
		return err
	})
	if n, _ := s.told("Your sign-in needs you"); n != 0 {
		t.Errorf("told %d times", n)
	}
}

// Once the person has signed in, nothing on their screen says that a program waits for it.
func TestWhatWaitedIsNotAskedForAfterTheSignIn(t *testing.T) {
	s := newStage(t)
	s.play()
	s.do(func() { s.wish("default", ipc.Ask{ID: "1", To: "web-1"}) })
	s.click(menu.Action{Verb: menu.LogIn})
	until(t, time.Minute, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		in := map[string]string{}
		for _, n := range s.notes {
			in[n.Title] = n.Group
		}
		if asked, done := in["ssh to web-1 needs you to sign in"], in["You are signed in"]; asked == "" || asked != done {
			return fmt.Errorf("notes and their places: %v", in)
		}
		return nil
	})
}
