// Publishes messages to a JetStream stream and takes them out of it, by NATS's own client for Go, as its tool `nats bench
// js` does: a stream in a file, publishers with a connection each, and one consumer that acknowledges each message. Prints
// how many a second were published and taken.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	server     = flag.String("server", nats.DefaultURL, "where the server is")
	publishers = flag.Int("publishers", 64, "how many publish at a time")
	messages   = flag.Int("messages", 200_000, "how many messages there are")
	size       = flag.Int("size", 200, "bytes of each")
	batch      = flag.Int("batch", 1, "messages that a publisher sends before it waits until the server has them")
)

const name = "micro-bench"

func main() {
	flag.Parse()
	if *publishers < 1 || *batch < 1 || *messages < *publishers {
		log.Fatal("there must be publishers, a message for each, and a batch of one at least")
	}
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	js, err := connect()
	if err != nil {
		return err
	}
	config := jetstream.StreamConfig{Name: name, Subjects: []string{name}, Storage: jetstream.FileStorage}
	if _, err := js.CreateStream(ctx, config); err != nil {
		return err
	}
	defer js.DeleteStream(ctx, name)
	share := *messages / *publishers
	taken, err := take(ctx, share**publishers)
	if err != nil {
		return err
	}
	body := make([]byte, *size)
	var working sync.WaitGroup
	failed := make(chan error, *publishers)
	begin := make(chan struct{})
	for range *publishers {
		js, err := connect()
		if err != nil {
			return err
		}
		working.Go(func() {
			<-begin
			failed <- publish(ctx, js, body, share)
		})
	}
	began := time.Now()
	close(begin)
	working.Wait()
	for range *publishers {
		if err := <-failed; err != nil {
			return err
		}
	}
	<-taken
	fmt.Printf("%.0f\n", float64(share**publishers)/time.Since(began).Seconds())
	return nil
}

func connect() (jetstream.JetStream, error) {
	connection, err := nats.Connect(*server)
	if err != nil {
		return nil, err
	}
	return jetstream.New(connection)
}

// Takes so many messages, and closes what it gives when it has acknowledged the last one.
func take(ctx context.Context, count int) (<-chan struct{}, error) {
	js, err := connect()
	if err != nil {
		return nil, err
	}
	config := jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10_000}
	consumer, err := js.CreateConsumer(ctx, name, config)
	if err != nil {
		return nil, err
	}
	all := make(chan struct{})
	_, err = consumer.Consume(func(message jetstream.Msg) {
		if err := message.Ack(); err != nil {
			log.Fatal(err)
		}
		if count--; count == 0 {
			close(all)
		}
	})
	return all, err
}

// Publishes so many messages, a batch at a time.
func publish(ctx context.Context, js jetstream.JetStream, body []byte, count int) error {
	for sent := 0; sent < count; {
		if *batch == 1 {
			if _, err := js.Publish(ctx, name, body); err != nil {
				return err
			}
			sent++
			continue
		}
		var acks []jetstream.PubAckFuture
		for ; len(acks) < *batch && sent < count; sent++ {
			ack, err := js.PublishAsync(name, body)
			if err != nil {
				return err
			}
			acks = append(acks, ack)
		}
		for _, ack := range acks {
			select {
			case <-ack.Ok():
			case err := <-ack.Err():
				return err
			}
		}
	}
	return nil
}
