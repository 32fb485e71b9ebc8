// A stand-in for cluster-proportional-autoscaler, whose module the lab cannot get. It takes the
// real one's flags, answers its health checks and scales nothing.
package main

import (
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(log.LstdFlags | log.LUTC)
	log.Printf("cluster-proportional-autoscaler 1.8.8 LAB STAND-IN: ignoring %s", strings.Join(os.Args[1:], " "))

	var last atomic.Int64
	last.Store(time.Now().Unix())
	go func() {
		for now := range time.Tick(10 * time.Second) {
			last.Store(now.Unix())
		}
	}()
	http.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	http.HandleFunc("/last-poll", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(time.Unix(last.Load(), 0).UTC().Format(time.RFC3339) + "\n"))
	})
	go func() { log.Fatal(http.ListenAndServe(":8080", nil)) }()

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
}
