package apis

import (
	"context"
	"fmt"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
)

// makeRare gives the five oldest tasks values that no other has.
func makeRare(ctx context.Context, d *bench.Database) error {
	for _, sql := range []string{
		`insert into klingwatch.relays (name, base_url, key_source, key_file) values ('rare', 'http://127.0.0.1:9', 'key_file', '/nowhere')`,
		`update klingwatch.tasks
		 set relay = 'rare', app = 'rare', action = 'rare', action2 = 'rare', external_id = 'rare', metadata = '{"customer": "rare"}', status = 'not_found',
		     status_message = 'a reason that comes rarely'
		 where id <= 5`,
		`vacuum analyze klingwatch.tasks`,
	} {
		if _, err := d.Exec(ctx, sql); err != nil {
			return fmt.Errorf("giving tasks rare values: %w", err)
		}
	}
	return nil
}
