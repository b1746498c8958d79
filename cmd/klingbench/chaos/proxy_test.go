package chaos

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// named is a server that answers every line with its name.
func named(t *testing.T, name string) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					_, _ = io.WriteString(conn, name+"\n")
				}
			}()
		}
	}()
	return listener.Addr().String()
}

func through(t *testing.T, p *proxy) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp4", p.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// answers asks a server for its name.
func answers(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	if _, err := io.WriteString(conn, "who?\n"); err != nil {
		t.Fatal(err)
	}
	hears(t, conn, want)
}

func hears(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	line := make([]byte, len(want)+1)
	if _, err := io.ReadFull(conn, line); err != nil || string(line) != want+"\n" {
		t.Fatalf("%q, %v; want %s", line, err, want)
	}
}

func TestOldConnectionsStayWhenTheAddressMoves(t *testing.T) {
	t.Parallel()
	p, err := newProxy(named(t, "old"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	first := through(t, p)
	answers(t, first, "old")
	p.point(named(t, "new"))
	answers(t, through(t, p), "new")
	answers(t, first, "old")
}

func TestADeadConnectionIsSilentUntilItIsReleased(t *testing.T) {
	t.Parallel()
	p, err := newProxy(named(t, "server"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	dead := through(t, p)
	answers(t, dead, "server")
	release := p.swallow()
	p.swallow() // what is dead already is not released by another
	if _, err := io.WriteString(dead, "who?\n"); err != nil {
		t.Fatal(err)
	}
	answers(t, through(t, p), "server") // new ones live
	_ = dead.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := dead.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the connection is not silent: %v", err)
	}
	release()
	hears(t, dead, "server")
}

func TestAClosedProxyEndsItsConnections(t *testing.T) {
	t.Parallel()
	p, err := newProxy(named(t, "server"))
	if err != nil {
		t.Fatal(err)
	}
	alive, dead := through(t, p), through(t, p)
	answers(t, alive, "server")
	answers(t, dead, "server")
	p.swallow()
	p.close()
	for _, conn := range []net.Conn{alive, dead} {
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the connection is still open: %v", err)
		}
	}
}
