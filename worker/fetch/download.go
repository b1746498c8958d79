package fetch

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"
)

// download is a file on its way, over all attempts.
type download struct {
	client   *Client
	source   Source
	into     *os.File
	progress func(have, total int64)

	part     // what is in the local file and in hash
	hash     hash.Hash
	format   format
	buffer   []byte
	until    int64 // where the body that comes now must end, or unknown
	closes   bool  // the end of the connection alone ends it
	most     int64 // the most that part.have ever was
	answered bool  // the host has begun to send a file
	noRanges bool  // the host does not understand them
}

// attempt makes one request and takes what comes. After an Error with Trouble the
// next attempt goes on from there.
func (d *download) attempt(ctx context.Context) error {
	pace := watch(ctx, d.client.cfg.Stall, d.client.cfg.MinProgress)
	defer pace.stop()
	res, host, err := d.client.ask(pace.ctx, d.source, d.header())
	if err != nil {
		return err
	}
	defer res.Body.Close()
	pace.begin()
	a, wrongPart, err := judge(res, d.part, host, time.Now())
	if wrongPart {
		d.forgo()
	}
	if err != nil {
		return err
	}
	if a.have == 0 {
		if err := d.begin(a.part); err != nil {
			return err
		}
	}
	d.answered, d.total, d.until, d.closes = true, a.total, a.until, a.closes
	if d.total > d.client.cfg.MaxBytes {
		return d.tooLarge(host)
	}
	body := &measured{body: res.Body, pace: pace}
	if !a.gzipped {
		return d.receive(pace.ctx, body, host)
	}
	return d.receive(pace.ctx, decoded(body), host)
}

// begin empties the local file, for a file of which nothing is here yet.
func (d *download) begin(p part) error {
	if d.noRanges {
		p.validator = ""
	}
	d.part, d.format = p, format{}
	d.hash.Reset()
	return d.into.Truncate(0)
}

// forgo asks for no more parts: the next attempt takes the file from its beginning.
func (d *download) forgo() { d.noRanges, d.validator = true, "" }

// receive takes a body to its end, one buffer at a time.
func (d *download) receive(ctx context.Context, body io.Reader, host string) error {
	for {
		n, err := fill(body, d.buffer)
		ended := errors.Is(err, io.EOF)
		if d.have == 0 && (n == len(d.buffer) || ended || n >= sniffed) {
			if err := d.recognise(d.buffer[:n], host); err != nil {
				return err
			}
		}
		if d.format.contentType == "" {
			return exchangeError(ctx, err, host) // cut before anybody could tell what it is
		}
		if err := d.keep(d.buffer[:n], host); err != nil {
			return err
		}
		switch {
		case ended && (d.until != unknown && d.have != d.until || d.total != unknown && d.have != d.total):
			return fail(Trouble, host, "the host sent %d of %d bytes", d.have, d.total)
		case ended && d.closes && !endsWell(d.into, d.have, d.format.ext):
			return fail(Trouble, host, "the host tells no length, and the file is cut off")
		case ended:
			return nil
		case err != nil:
			return exchangeError(ctx, err, host)
		}
	}
}

// recognise finds out what begins so.
func (d *download) recognise(head []byte, host string) error {
	if len(head) == 0 {
		return fail(NotAFile, host, "the file is empty")
	}
	found, err := sniff(head, d.source.Kind)
	if err != nil {
		return fail(NotAFile, host, "%v", err)
	}
	d.format = found
	return nil
}

// keep appends bytes to the local file.
func (d *download) keep(chunk []byte, host string) error {
	if d.have+int64(len(chunk)) > d.client.cfg.MaxBytes {
		return d.tooLarge(host)
	}
	if d.until != unknown && d.have+int64(len(chunk)) > d.until { // in a part: of a whole file, HTTP leaves out what is beyond its length
		d.forgo()
		return fail(Trouble, host, "the host sent more than the %d bytes that it announced", d.until)
	}
	if _, err := d.into.WriteAt(chunk, d.have); err != nil {
		return fmt.Errorf("writing a file on its way to the archive: %w", err)
	}
	d.hash.Write(chunk)
	d.have += int64(len(chunk))
	d.most = max(d.most, d.have)
	d.progress(d.have, d.total)
	return nil
}

func (d *download) tooLarge(host string) error {
	return fail(TooLarge, host, "the file is larger than %d bytes, the most that is kept", d.client.cfg.MaxBytes)
}

func (d *download) file() File {
	return File{Bytes: d.have, SHA256: hex.EncodeToString(d.hash.Sum(nil)), ContentType: d.format.contentType, Ext: d.format.ext}
}

// fill reads until the buffer is full or the body ends, and returns the error that
// ended it: io.ReadFull would take a cut for an end.
func fill(body io.Reader, buffer []byte) (n int, err error) {
	for n < len(buffer) && err == nil {
		var more int
		more, err = body.Read(buffer[n:])
		n += more
	}
	return n, err
}

// decoded undoes gzip, which some hosts send unasked. Others only say so, and send
// the file as it is.
func decoded(body io.Reader) io.Reader {
	peeked := bufio.NewReader(body)
	if magic, _ := peeked.Peek(2); !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return peeked
	}
	reader, err := gzip.NewReader(peeked)
	if err != nil {
		return failing{err}
	}
	return reader
}

// failing is a reader that fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
