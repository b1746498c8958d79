package fetch

import (
	"bytes"
	"errors"
	stdimage "image"
	"image/color"
	_ "image/gif" // pictures that are read
	"image/jpeg"
	_ "image/png"
	"io"
	"os"

	"golang.org/x/image/draw"
	_ "golang.org/x/image/webp"
)

const (
	// thumbnailWidth and thumbnailHeight are the most that a thumbnail has: a strip of
	// pictures below each other is not as tall as it is long.
	thumbnailWidth, thumbnailHeight = 480, 1440
	thumbnailQuality                = 80
	// maxDecoded is the memory that a picture may take to be made small: one of
	// 4096 x 4096 fits in any format. A bomb of a few kB claims thousands of times more.
	maxDecoded = 320 << 20
)

// errTooBig is why a picture has no thumbnail.
var errTooBig = errors.New("the picture is too large to be made small here")

// pictureSize reads width and height from the header of a picture.
func pictureSize(local *os.File) (stdimage.Config, error) {
	cfg, _, err := stdimage.DecodeConfig(from(local))
	return cfg, err
}

// from reads a local file from its beginning, whatever its offset is.
func from(local *os.File) io.Reader {
	const all = 1<<63 - 1
	return io.NewSectionReader(local, 0, all)
}

// shrunk returns a picture as a small JPEG, on white where it is transparent. It
// checks the size first: the memory is taken before anybody sees that it is a bomb.
func shrunk(local *os.File, cfg stdimage.Config) ([]byte, error) {
	if memory(cfg) > maxDecoded {
		return nil, errTooBig
	}
	picture, _, err := stdimage.Decode(from(local))
	if err != nil {
		return nil, err
	}
	width, height := fit(picture.Bounds().Dx(), picture.Bounds().Dy())
	small := stdimage.NewRGBA(stdimage.Rect(0, 0, width, height))
	draw.Draw(small, small.Bounds(), stdimage.NewUniform(color.White), stdimage.Point{}, draw.Src)
	draw.BiLinear.Scale(small, small.Bounds(), picture, picture.Bounds(), draw.Over, nil)
	var out bytes.Buffer
	err = jpeg.Encode(&out, small, &jpeg.Options{Quality: thumbnailQuality})
	return out.Bytes(), err
}

// memory is the most that decoding and scaling take, in bytes.
func memory(cfg stdimage.Config) int64 {
	const perPixelOfScaling = 32 // of the narrowed picture, at its full height
	width, _ := fit(cfg.Width, cfg.Height)
	pixels := int64(cfg.Width) * int64(cfg.Height)
	return pixels*perPixel(cfg.ColorModel) + int64(width)*int64(cfg.Height)*perPixelOfScaling
}

// perPixel is the most memory that a pixel takes while it is decoded.
func perPixel(model color.Model) int64 {
	switch model {
	case color.YCbCrModel: // a progressive JPEG is kept as coefficients first
		return 15
	case color.NRGBA64Model, color.RGBA64Model:
		return 8
	}
	return 4
}

// fit returns the size of a thumbnail: never larger than the picture, and of its
// proportions.
func fit(width, height int) (int, int) {
	if width <= 0 || height <= 0 {
		return 1, 1
	}
	scale := min(1, float64(thumbnailWidth)/float64(width), float64(thumbnailHeight)/float64(height))
	return max(1, int(float64(width)*scale+0.5)), max(1, int(float64(height)*scale+0.5))
}
