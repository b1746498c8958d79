//go:build unix && !aix && !solaris

package embeddedpg_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/embeddedpg"
)

func Example() {
	ctx := context.Background()
	server, err := embeddedpg.Start(ctx, embeddedpg.Config{
		DataDir:    filepath.Join(os.TempDir(), "example"), // or embeddedpg.DefaultDataDir, to keep the data
		Parameters: map[string]string{"max_connections": "20"},
		Database:   "shop",
	})
	if err != nil {
		fmt.Println(err) // one line: what went wrong, and what to try
		return
	}
	defer server.Close()

	conn, err := pgx.Connect(ctx, server.URL())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close(ctx)
	var database, user string
	if err := conn.QueryRow(ctx, "select current_database(), current_user").Scan(&database, &user); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s owns the database %s; this process owns the server: %t\n", user, database, server.Owner())
	// Output: klingwatch owns the database shop; this process owns the server: true
}
