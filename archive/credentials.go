package archive

import (
	"cmp"
	"errors"
	"fmt"
	"os"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// credentialsFromOutside takes the environment before the files, as all of Amazon's
// tools do.
func credentialsFromOutside() (*credentials.Credentials, error) {
	id, secret := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
	switch {
	case id != "" && secret != "":
		return credentials.NewStaticV4(id, secret, os.Getenv("AWS_SESSION_TOKEN")), nil
	case id != "" || secret != "":
		return nil, errors.New("KLINGWATCH_ARCHIVE needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and only one of them is set")
	}
	files := credentials.New(&keyFiles{})
	if _, err := files.GetWithContext(nil); err != nil {
		return nil, err
	}
	return files, nil
}

// keyFiles reads the files anew for each request, so that a key can be changed while
// klingwatch runs; keys that expire by themselves are read when they do.
type keyFiles struct {
	credentials.FileAWSCredentials
}

// RetrieveWithCredContext hides the error of the parser, which may show a line with a
// secret.
func (f *keyFiles) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	value, err := f.FileAWSCredentials.RetrieveWithCredContext(cc)
	if err != nil || value.AccessKeyID == "" || value.SecretAccessKey == "" {
		return credentials.Value{}, trouble{text: fmt.Sprintf(
			"there are no credentials for KLINGWATCH_ARCHIVE in the profile %q of %s; write aws_access_key_id and aws_secret_access_key there, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
			cmp.Or(os.Getenv("AWS_PROFILE"), "default"), cmp.Or(os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), "~/.aws/credentials"))}
	}
	return value, nil
}
