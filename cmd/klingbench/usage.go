package main

import (
	"context"
	"os"
	"runtime"
	"time"
)

// usage is what was used up to a moment, or between two.
type usage struct {
	at       time.Time
	elapsed  time.Duration // between two
	polls    float64
	client   time.Duration // CPU of the process that asks
	postgres time.Duration // CPU of all processes of the server
	relay    time.Duration // CPU of the stub
	own      time.Duration // CPU of the measuring process
	machine  time.Duration // CPU of the whole machine, others' work included
	wal      float64       // bytes
}

// usage reads all counters; client is the process that asks.
func (b *bench) usage(ctx context.Context, client *child) (u usage, err error) {
	counts, err := b.relay.counts(ctx)
	if err != nil {
		return u, err
	}
	wal, err := walPosition(ctx, b.admin)
	if err != nil {
		return u, err
	}
	u = usage{at: time.Now(), polls: float64(counts.Polls), wal: float64(wal)}
	if u.client, err = cpuOf(client.pid()); err != nil {
		return u, err
	}
	if u.relay, err = cpuOf(b.relay.pid()); err != nil {
		return u, err
	}
	if u.postgres, err = cpuOfFamily(b.postmaster); err != nil {
		return u, err
	}
	if u.own, err = cpuOf(os.Getpid()); err != nil {
		return u, err
	}
	u.machine, err = cpuOfMachine()
	return u, err
}

// since is what was used after another moment.
func (u usage) since(v usage) usage {
	return usage{
		at: u.at, elapsed: u.at.Sub(v.at), polls: u.polls - v.polls, client: u.client - v.client,
		postgres: u.postgres - v.postgres, relay: u.relay - v.relay,
		own: u.own - v.own, machine: u.machine - v.machine, wal: u.wal - v.wal,
	}
}

// rate is in polls per second.
func (u usage) rate() float64 { return ratio(u.polls, u.elapsed.Seconds()) }

// others is the part of the machine's CPU that other work took meanwhile, in
// percent: figures are of little worth when it is large.
func (u usage) others() float64 {
	theirs := u.machine - u.client - u.postgres - u.relay - u.own
	return max(0, 100*ratio(theirs.Seconds(), u.elapsed.Seconds()*float64(runtime.NumCPU())))
}

// cpuPerPoll of a part, in microseconds.
func (u usage) cpuPerPoll(part time.Duration) float64 { return ratio(microseconds(part), u.polls) }

// walPerPoll is in bytes.
func (u usage) walPerPoll() float64 { return ratio(u.wal, u.polls) }
