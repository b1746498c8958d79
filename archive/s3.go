package archive

import "errors"

func openS3(place) (Store, error) { return nil, errors.New("S3 comes with the next commit") }
