package fetch

import (
	"bytes"
	"encoding/binary"
	"os"
	"strings"
	"testing"
)

func TestAFileIsRecognisedByItsFirstBytes(t *testing.T) {
	t.Parallel()
	packets := strings.Repeat("G"+strings.Repeat("\x00", 187), 3)
	for _, c := range []struct{ head, kind, contentType, ext string }{
		{"\xff\xd8\xff\xe0\x00\x10JFIF", "image", "image/jpeg", "jpg"},
		{"\x89PNG\r\n\x1a\n", "image", "image/png", "png"},
		{"GIF89a", "", "image/gif", "gif"},
		{"RIFF\x00\x00\x00\x00WEBPVP8 ", "image", "image/webp", "webp"},
		{"\x00\x00\x00\x1cftypavif", "image", "image/avif", "avif"},
		{"BM\x00\x00\x00\x00\x00\x00\x00\x00", "image", "image/bmp", "bmp"},
		{"\x00\x00\x00\x18ftypisom", "video", "video/mp4", "mp4"},
		{"\x00\x00\x00\x18ftypiso5", "audio", "audio/mp4", "m4a"},
		{"\x00\x00\x00\x18ftypM4A ", "audio", "audio/mp4", "m4a"},
		{"\x00\x00\x00\x18ftypM4A ", "video", "video/mp4", "mp4"},
		{"\x00\x00\x00\x14ftypqt  ", "video", "video/quicktime", "mov"},
		{"\x00\x00\x00\x08wide", "video", "video/quicktime", "mov"},
		{"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm", "video", "video/webm", "webm"},
		{"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm", "audio", "audio/webm", "webm"},
		{"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x88matroska", "video", "video/x-matroska", "mkv"},
		{packets, "video", "video/mp2t", "ts"},
		{"ID3\x04\x00", "audio", "audio/mpeg", "mp3"},
		{"\xff\xfb\x90\x64\x00", "audio", "audio/mpeg", "mp3"},
		{"\xff\xf1\x50\x80\x00", "audio", "audio/aac", "aac"},
		{"RIFF\x00\x00\x00\x00WAVEfmt ", "audio", "audio/wav", "wav"},
		{"fLaC\x00", "audio", "audio/flac", "flac"},
		{"OggS\x00", "audio", "audio/ogg", "ogg"},
		{"OggS\x00", "video", "video/ogg", "ogv"},
	} {
		got, err := sniff([]byte(c.head), c.kind)
		if err != nil || got.contentType != c.contentType || got.ext != c.ext || c.kind != "" && got.kind != c.kind {
			t.Errorf("%.12q as %q: %+v, %v", c.head, c.kind, got, err)
		}
	}
	for _, c := range []struct{ head, kind string }{
		{"\x89PNG\r\n\x1a\n", "video"}, {"ID3", "video"}, {"\x00\x00\x00\x18ftypisom", "image"}, {"GIF89a", "audio"},
		{"BM and more of a text", "image"}, {"Get it here", ""}, {"\xff\xff\xff\xff\xff", ""}, {"", ""}, {"R", ""}, {"RIFF\x00\x00\x00\x00", ""},
	} {
		if got, err := sniff([]byte(c.head), c.kind); err == nil {
			t.Errorf("%q as %q: %+v", c.head, c.kind, got)
		}
	}
}

func TestTheSamplesOfTheSimulatorAreRecognised(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]string{"output.mp3": audio, "output.mp4": video} {
		content, err := os.ReadFile("../../klingapi/klingsim/files/" + name)
		if err != nil {
			t.Fatal(err)
		}
		found, err := sniff(content[:sniffed], kind)
		if err != nil || "output."+found.ext != name || !endsWell(bytes.NewReader(content), int64(len(content)), found.ext) {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
		if cut := content[:len(content)-1]; kind == video && endsWell(bytes.NewReader(cut), int64(len(cut)), found.ext) {
			t.Errorf("%s without its last byte looks whole", name)
		}
	}
}

func TestAFormatTellsWhetherItsFileIsWhole(t *testing.T) {
	t.Parallel()
	riff := append([]byte("RIFF"), binary.LittleEndian.AppendUint32(nil, 8)...)
	for _, c := range []struct{ ext, whole string }{
		{"png", "\x89PNG\r\n\x1a\n\x00\x00\x00\x00IEND\xaeB`\x82"},
		{"jpg", "\xff\xd8\xff\xd9"},
		{"gif", "GIF89a;"},
		{"webp", string(riff) + "WEBPVP8 "},
		{"mp4", "\x00\x00\x00\x08ftyp\x00\x00\x00\x08moov\x00\x00\x00\x09mdatx"},
		{"mp4", "\x00\x00\x00\x08moov\x00\x00\x00\x01mdat\x00\x00\x00\x00\x00\x00\x00\x11x"},
	} {
		ends := func(text string) bool { return endsWell(strings.NewReader(text), int64(len(text)), c.ext) }
		if !ends(c.whole) {
			t.Errorf("%s: %q is whole", c.ext, c.whole)
		}
		for n := range c.whole {
			if ends(c.whole[:n]) {
				t.Errorf("%s: %q is not whole", c.ext, c.whole[:n])
			}
		}
	}
	if text := "\x00\x00\x00\x08moov\x00\x00\x00\x01mdat\xff\xff\xff\xff\xff\xff\xff\xff"; endsWell(strings.NewReader(text), int64(len(text)), "mp4") {
		t.Error("a box beyond the end")
	}
}

func TestWhatFFprobeTells(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]probed{
		`{"streams":[{"codec_type":"audio"},{"codec_type":"video","width":4,"height":3}],"format":{"duration":"5.041"}}`:            {4, 3, 5_041_000_000},
		`{"streams":[{"codec_type":"video","width":4,"height":3,"side_data_list":[{"rotation":-90}]}],"format":{"duration":"N/A"}}`: {3, 4, 0},
		`{"streams":[{"codec_type":"video","width":4,"height":3,"disposition":{"attached_pic":1}}],"format":{"duration":"-1"}}`:     {},
		`{"streams":[{"codec_type":"video","width":-4,"height":3}],"format":{"duration":"1e300"}}`:                                  {},
		`{}`: {},
	} {
		if got, err := readProbe([]byte(text)); got != want || err != nil {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	if _, err := readProbe([]byte("no JSON")); err == nil {
		t.Error("no error")
	}
}
