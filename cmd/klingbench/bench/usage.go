package bench

import (
	"context"
	"os"
	"runtime"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
)

// Usage is what was used in a period.
type Usage struct {
	From     time.Time     // beginning of the period
	Elapsed  time.Duration // its length
	Requests float64       // that the server has received
	Client   time.Duration // CPU of the processes that send the requests
	Server   time.Duration // CPU of the process that answers them: the relay, or the receivers
	Postgres time.Duration // CPU of all its processes
	Own      time.Duration // CPU of the measuring process
	Machine  time.Duration // CPU of the whole machine, other work included
	WAL      float64       // bytes of write-ahead log
}

// Server is a process that answers the requests of a measurement: the relay, or
// the receivers.
type Server interface {
	PID() int
	Requests(context.Context) (int64, error) // that it has received so far
}

// Spent calls work and returns what was used meanwhile; client is the id of the
// process that sends the requests.
func (b *Bench) Spent(ctx context.Context, client int, server Server, work func() error) (Usage, error) {
	return b.SpentBy(ctx, []int{client}, server, work)
}

// SpentBy is Spent where several processes send the requests.
func (b *Bench) SpentBy(ctx context.Context, clients []int, server Server, work func() error) (Usage, error) {
	before, err := b.usage(ctx, clients, server)
	if err != nil {
		return Usage{}, err
	}
	if err := work(); err != nil {
		return Usage{}, err
	}
	after, err := b.usage(ctx, clients, server)
	return after.since(before), err
}

// usage reads all counters as they are now.
func (b *Bench) usage(ctx context.Context, clients []int, server Server) (u Usage, err error) {
	requests, err := server.Requests(ctx)
	if err != nil {
		return u, err
	}
	wal, err := walPosition(ctx, b.admin)
	if err != nil {
		return u, err
	}
	u = Usage{From: time.Now(), Requests: float64(requests), WAL: float64(wal)}
	for _, one := range []struct {
		pid int
		cpu *time.Duration
	}{{server.PID(), &u.Server}, {os.Getpid(), &u.Own}} {
		if *one.cpu, err = process.CPU(one.pid); err != nil {
			return u, err
		}
	}
	for _, pid := range clients {
		cpu, err := process.CPU(pid)
		if err != nil {
			return u, err
		}
		u.Client += cpu
	}
	if u.Postgres, err = process.FamilyCPU(b.postmaster); err != nil {
		return u, err
	}
	u.Machine, err = process.MachineCPU()
	return u, err
}

// since returns what was used between two readings.
func (u Usage) since(before Usage) Usage {
	return Usage{
		From: before.From, Elapsed: u.From.Sub(before.From), Requests: u.Requests - before.Requests,
		Client: u.Client - before.Client, Server: u.Server - before.Server, Postgres: u.Postgres - before.Postgres,
		Own: u.Own - before.Own, Machine: u.Machine - before.Machine, WAL: u.WAL - before.WAL,
	}
}

// Rate returns the requests per second.
func (u Usage) Rate() float64 { return figures.Ratio(u.Requests, u.Elapsed.Seconds()) }

// Others returns the part of the machine's CPU that other work took meanwhile, in
// percent: when it is large, the figures say little.
func (u Usage) Others() float64 {
	theirs := u.Machine - u.Client - u.Server - u.Postgres - u.Own
	return max(0, u.Part(theirs))
}

// Part returns which part of the machine's CPU a CPU time is, in percent.
func (u Usage) Part(cpu time.Duration) float64 {
	return 100 * figures.Ratio(cpu.Seconds(), u.Elapsed.Seconds()*float64(runtime.NumCPU()))
}

// PerRequest returns a CPU time divided by the requests, in microseconds.
func (u Usage) PerRequest(cpu time.Duration) float64 {
	return figures.Ratio(figures.Microseconds(cpu), u.Requests)
}

// WALPerRequest is in bytes.
func (u Usage) WALPerRequest() float64 { return figures.Ratio(u.WAL, u.Requests) }
