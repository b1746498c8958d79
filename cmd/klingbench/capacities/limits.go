package capacities

import (
	"math"
	"strings"
)

// costs are what was measured with klingbench; docs/scaling.md says when and where.
type costs struct {
	postgresPerTask float64 // seconds of CPU: insert, job, two events, an output, its end
	postgresPerStay float64 // seconds of CPU: a job put to sleep and taken up again, its task read
	postgresIdle    float64 // cores that a process takes of Postgres while it has nothing to do
	clientPerPoll   float64 // seconds of CPU of klingwatch: a request
	clientPerAnswer float64 // and each task in its answer
	clientPerTask   float64
	clientPerStay   float64
	walPerTask      float64 // bytes
	walPerStay      float64
	memoryPerTask   float64 // bytes, of one that is resident
	connections     float64 // of a process
	slots           float64 // tasks of the relay default that a process can hold
}

// machine is what there is.
type machine struct {
	postgresCores float64
	busyPart      float64 // of the cores that may be busy: what is beyond shows as lateness
	processes     float64
	clientCores   float64 // of each process
	memory        float64 // bytes, of all processes
	wal           float64 // bytes per second
	rate          float64 // requests per second that the relay allows
	batch         float64 // tasks in a request
}

// What can run out.
const (
	rate        = "rate of the relay"
	postgresCPU = "CPU of Postgres"
	clientCPU   = "CPU of klingwatch"
	wal         = "WAL"
	memory      = "memory of klingwatch"
	slots       = "slots"
)

// limit is the number of tasks in flight at which something runs out.
type limit struct {
	of    string
	tasks float64
}

// name is for programs.
func (l limit) name() string { return strings.ToLower(strings.ReplaceAll(l.of, " ", "_")) }

// limits of tasks of one kind, in a fixed order.
func limits(l life, c costs, m machine) []limit {
	perSecond := func(perTask float64) float64 { return perTask / l.duration } // of a task in flight
	postgres := perSecond(c.postgresPerTask + (l.stays-1)*c.postgresPerStay)
	client := perSecond(c.clientPerTask + l.polls*(c.clientPerPoll/m.batch+c.clientPerAnswer) + (l.stays-1)*c.clientPerStay)
	return []limit{
		{rate, m.rate * m.batch / perSecond(l.polls)},
		{postgresCPU, max(m.postgresCores*m.busyPart-m.processes*c.postgresIdle, 0) / postgres},
		{clientCPU, m.processes * m.clientCores * m.busyPart / client},
		{wal, m.wal / perSecond(c.walPerTask+(l.stays-1)*c.walPerStay)},
		{memory, m.memory / (c.memoryPerTask * l.resident / l.duration)},
		{slots, m.processes * c.slots / (l.resident / l.duration)},
	}
}

// first returns the limit that is reached first.
func first(all []limit) limit {
	lowest := limit{tasks: math.Inf(1)}
	for _, one := range all {
		if one.tasks < lowest.tasks {
			lowest = one
		}
	}
	return lowest
}
