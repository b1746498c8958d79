package demo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/webhook"
)

// CheckFiles gets each kept file of the samples, and its thumbnail, from a service with an
// API key, and returns how many files there are. A file that is not what was stored is an
// error.
func (r *Run) CheckFiles(ctx context.Context, serviceURL, apiKey string) (served int, err error) {
	for _, sample := range r.samples {
		outputs, err := db.OutputsOfTask(ctx, r.pool, sample.ID)
		if err != nil {
			return served, fmt.Errorf("reading the files of sample task %s: %w", sample.TaskID, err)
		}
		for _, o := range outputs {
			if o.SHA256 == nil {
				continue
			}
			sum, err := digestOf(ctx, serviceURL+webhook.ContentPath(o.Task, o.Kind, o.Position), apiKey)
			if err == nil && sum != *o.SHA256 {
				err = fmt.Errorf("its SHA-256 is %s, not %s", sum, *o.SHA256)
			}
			if err == nil && o.ThumbnailKey != nil {
				_, err = digestOf(ctx, serviceURL+webhook.ThumbnailPath(o.Task, o.Kind, o.Position), apiKey)
			}
			if err != nil {
				return served, fmt.Errorf("getting %s %d of sample task %s: %w", o.Kind, o.Position, sample.TaskID, err)
			}
			served++
		}
	}
	return served, nil
}

// digestOf returns the SHA-256 of what an address answers.
func digestOf(ctx context.Context, address, apiKey string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, res.Body); err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answered HTTP %d", address, res.StatusCode)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
