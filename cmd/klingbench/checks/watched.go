package checks

// direction is which way a figure gets worse.
type direction int

const (
	lower  direction = iota // the lower the better
	higher                  // the higher the better
)

// figure is one that is watched.
type figure struct {
	name   string // as the command has it
	better direction
}

// measurement is a quick run of a command, and what is watched of it.
type measurement struct {
	command string
	args    []string
	figures []figure
}

// watched leaves out what differs by more than a change would show in runs this short:
// throughputs and ratios of throughputs (part_of_http_limit, times_naive, copy_part_of_bare,
// copy_to_old, part_of_bare, order_part), latencies and lateness, and memory per task of a
// thousand tasks.
var watched = []measurement{
	{"poll", []string{"--runs=3"}, []figure{
		{"cpu_to_http_limit", lower}, {"cpu_to_http_limit_longer", lower}, {"tls_cpu_to_http_limit", lower}, {"tls_cpu_to_http_limit_longer", lower},
		{"cpu_to_naive", lower}, {"wal_per_poll", lower}, {"wal_per_poll_longer", lower},
		{"batch_to_single", higher}, {"batch_tasks_per_request", higher},
	}},
	{"late", nil, []figure{{"peak_per_second", lower}}},
	{"insert", []string{"--runs=3", "--singles=5"}, []figure{{"copy_cpu_to_old", lower}, {"single_cpu_to_old", lower}}},
	{"webhook", nil, []figure{{"attempts_per_delivery", lower}, {"wal_per_delivery", lower}}},
}
