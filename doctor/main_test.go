package doctor

import (
	"testing"

	"github.com/klingwatch/klingwatch/db/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }
