package main

type outputsCommand struct {
	Archive outputsArchive `cmd:"" may:"klingwatch_operator" help:"Keep the files of tasks that ended before keeping was switched on, or whose files were lost."`
}
