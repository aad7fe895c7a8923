// A MongoDB-compatible server for tests: FerretDB 1.24 with its SQLite back end, in one process.
//
//	ferretdb <address> <folder>
//
// FerretDB's own command cannot be built as a dependency, so this embeds it, as its package documentation says.
//
// Its update first finds and then writes, so two clients that compare-and-set one document can both be told that
// they won. MongoDB's update is atomic, and Tollgate relies on it. So this takes every connection itself and lets
// one command through at a time: slower, and as strict as what it stands in for.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/FerretDB/FerretDB/ferretdb"
)

// The largest message of the MongoDB wire protocol, with its header.
const maxMessage = 48_000_000

// oneAtATime is held while a command runs.
var oneAtATime sync.Mutex

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: ferretdb <address> <folder>")
	}
	address, folder := os.Args[1], os.Args[2]
	if err := os.MkdirAll(folder, 0o755); err != nil {
		log.Fatal(err)
	}
	socket := filepath.Join(folder, "ferretdb.sock")
	_ = os.Remove(socket)

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	slog.SetLogLoggerLevel(slog.LevelError)
	server, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{Unix: socket},
		Handler:   "sqlite",
		SQLiteURL: "file:" + folder + "/",
	})
	if err != nil {
		log.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	waitFor(socket)

	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("ready mongodb://%s\n", listener.Addr())
	go accept(listener, socket)
	<-ctx.Done()
	_ = listener.Close()
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
}

func waitFor(socket string) {
	for tries := 0; tries < 100; tries++ {
		if connection, err := net.Dial("unix", socket); err == nil {
			_ = connection.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	log.Fatal("FerretDB does not start")
}

func accept(listener net.Listener, socket string) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		go serve(client, socket)
	}
}

// serve passes commands and answers on until either side ends.
func serve(client net.Conn, socket string) {
	defer client.Close()
	backend, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer backend.Close()
	for {
		command, err := readMessage(client)
		if err != nil {
			return
		}
		answer, err := run(backend, command)
		if err != nil {
			return
		}
		if _, err := client.Write(answer); err != nil {
			return
		}
	}
}

func run(backend net.Conn, command []byte) ([]byte, error) {
	oneAtATime.Lock()
	defer oneAtATime.Unlock()
	if _, err := backend.Write(command); err != nil {
		return nil, err
	}
	return readMessage(backend)
}

// readMessage reads one message: its length comes first, little-endian, and counts itself.
func readMessage(from net.Conn) ([]byte, error) {
	header := make([]byte, 4)
	if _, err := io.ReadFull(from, header); err != nil {
		return nil, err
	}
	length := binary.LittleEndian.Uint32(header)
	if length < 16 || length > maxMessage {
		return nil, fmt.Errorf("a message of %d bytes", length)
	}
	message := make([]byte, length)
	copy(message, header)
	_, err := io.ReadFull(from, message[4:])
	return message, err
}
