package pages

import "net/http"

// overviewPage is what runs now.
type overviewPage struct{ shell }

func (p *Pages) showOverview(v *visit) error {
	return v.render(http.StatusOK, "overview", overviewPage{v.shell("overview")})
}
