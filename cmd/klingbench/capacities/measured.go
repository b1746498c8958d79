package capacities

// measured is what klingbench found on 2026-11-26, 2 cores AMD EPYC, Postgres 15.18:
// fleet (shared) and poll, and a profile of the day before. What a stay costs is an
// estimate: two updates of a job, which nobody has measured alone.
var measured = costs{
	postgresPerTask: 150e-6,
	postgresPerStay: 100e-6,
	postgresIdle:    0.034,
	clientPerPoll:   50e-6,
	clientPerAnswer: 10e-6,
	clientPerTask:   95e-6,
	clientPerStay:   100e-6,
	walPerTask:      4_200,
	walPerStay:      1_000,
	memoryPerTask:   9.9 * 1024,
	connections:     21,
	slots:           80_000,
}
