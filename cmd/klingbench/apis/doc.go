// Package apis measures the HTTP API of a server that is a process of its own, as all its
// clients are:
//
//	stream    from a commit to very many followers of the feed, over kill -9 of the server
//	wait      from the end of a task to the answer of those who wait for it
//	list      pages of a million tasks, with any one filter
//	post      a thousand tasks by POST, against COPY of the same
//	cancel    a hundred thousand tasks by one bulk action, beside polls
//	callback  from a callback of Kling to the webhook of the task
package apis
