package archive_test

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/klingwatch/klingwatch/archive"
)

func ExampleOpen() {
	dataDir, _ := os.MkdirTemp("", "klingwatch-")
	defer os.RemoveAll(dataDir)
	ctx := context.Background()

	store, err := archive.Open("file:", dataDir)
	if err != nil {
		fmt.Println(err)
		return
	}
	local, _ := os.CreateTemp(store.Spool(), "video-")
	defer os.Remove(local.Name())
	defer local.Close()
	fmt.Fprint(local, "a clip of five seconds")

	key := "default/2026/11/25/17/video-0-1f2e3d4c.mp4"
	fmt.Println(store.Put(ctx, key, local, archive.Info{Size: 22}))

	content, _ := store.Open(ctx, key)
	defer content.Close()
	content.Seek(7, io.SeekStart)
	rest, _ := io.ReadAll(content)
	fmt.Printf("%d bytes: %s\n", content.Size, rest)
	// Output:
	// <nil>
	// 22 bytes: of five seconds
}
