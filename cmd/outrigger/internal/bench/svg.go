package bench

import (
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strings"
)

// axis maps values to places of a panel.
type axis struct {
	label    string
	from, to float64
	log      bool
	ticks    []tick
}

// tick is a marked value.
type tick struct {
	at   float64
	text string
}

// share is how far along the axis a value lies, from 0 to 1.
func (a axis) share(v float64) float64 {
	from, to := a.from, a.to
	if a.log {
		v, from, to = math.Log10(max(v, a.from)), math.Log10(from), math.Log10(to)
	}
	return min(max((v-from)/(to-from), 0), 1)
}

// linear is an axis from 0 that holds most, with ticks at round values.
func linear(label string, most float64) axis {
	const ticksMost = 6
	most = max(most, 1e-6)
	power := math.Pow(10, math.Floor(math.Log10(most)))
	var step float64
	for _, factor := range []float64{0.1, 0.2, 0.5, 1, 2} {
		if step = factor * power; most/step <= ticksMost {
			break
		}
	}
	a := axis{label: label, to: step * math.Ceil(most/step)}
	for i := 0; float64(i)*step <= a.to*(1+1e-9); i++ {
		a.ticks = append(a.ticks, tick{float64(i) * step, plain(float64(i) * step)})
	}
	return a
}

// logarithmic is an axis over whole powers of ten that holds everything from least to most.
func logarithmic(label string, least, most float64) axis {
	low := math.Floor(math.Log10(max(least, 1e-3)))
	high := max(math.Ceil(math.Log10(max(most, 1e-3))), low+1)
	a := axis{label: label, from: math.Pow(10, low), to: math.Pow(10, high), log: true}
	for p := low; p <= high; p++ {
		a.ticks = append(a.ticks, tick{math.Pow(10, p), plain(math.Pow(10, p))})
	}
	return a
}

// plain is a number without what says nothing.
func plain(v float64) string {
	text := fmt.Sprintf("%.3f", v)
	return strings.TrimRight(strings.TrimRight(text, "0"), ".")
}

// line is one of a panel.
type line struct {
	name   string
	color  string
	points [][2]float64
	// step: between two points the value is that of the first.
	step bool
}

// panel is one diagram.
type panel struct {
	title string
	x, y  axis
	lines []line
	// shades are ranges of x that are set apart, marks are single values.
	shades [][2]float64
	marks  []tick
}

// Places in a picture.
const (
	pictureWidth = 900
	panelHeight  = 260
	marginLeft   = 70
	marginRight  = 20
	marginTop    = 46
	marginBottom = 44
	headHeight   = 82
)

// drawing collects SVG.
type drawing struct{ strings.Builder }

func (d *drawing) add(format string, args ...any) {
	fmt.Fprintf(&d.Builder, format+"\n", args...)
}

// words adds text; class is start, middle or end.
func (d *drawing) words(x, y float64, anchor, class, words string) {
	d.add(`<text x="%.1f" y="%.1f" text-anchor="%s" class="%s">%s</text>`, x, y, anchor, class, escape(words))
}

func escape(words string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(words)) // a Builder cannot fail
	return b.String()
}

// picture puts panels below each other, under a title and two lines.
func picture(title string, notes [2]string, panels []panel) string {
	d := &drawing{}
	height := headHeight + panelHeight*len(panels)
	d.add(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">`, pictureWidth, height, pictureWidth, height)
	d.add(`<style>text{font:12px sans-serif;fill:#333}.title{font-size:17px;font-weight:bold}.panel{font-weight:bold}` +
		`.grid{stroke:#ddd}.frame{fill:none;stroke:#888}.shade{fill:#f3f3f3}.mark{stroke:#c00;stroke-dasharray:4 3}` +
		`polyline{fill:none;stroke-width:1.8}</style>`)
	d.add(`<rect width="100%%" height="100%%" fill="#fff"/>`)
	d.words(marginLeft, 26, "start", "title", title)
	d.words(marginLeft, 46, "start", "note", notes[0])
	d.words(marginLeft, 64, "start", "note", notes[1])
	for i, p := range panels {
		d.panel(p, float64(headHeight+i*panelHeight))
	}
	d.add(`</svg>`)
	return d.String()
}

// panel draws one diagram whose upper edge is at top.
func (d *drawing) panel(p panel, top float64) {
	left, right := float64(marginLeft), float64(pictureWidth-marginRight)
	upper, lower := top+marginTop, top+panelHeight-marginBottom
	atX := func(v float64) float64 { return left + p.x.share(v)*(right-left) }
	atY := func(v float64) float64 { return lower - p.y.share(v)*(lower-upper) }
	for _, s := range p.shades {
		d.add(`<rect class="shade" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, atX(s[0]), upper, atX(s[1])-atX(s[0]), lower-upper)
	}
	for _, t := range p.x.ticks {
		d.add(`<line class="grid" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, atX(t.at), upper, atX(t.at), lower)
		d.words(atX(t.at), lower+16, "middle", "tick", t.text)
	}
	for _, t := range p.y.ticks {
		d.add(`<line class="grid" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, left, atY(t.at), right, atY(t.at))
		d.words(left-8, atY(t.at)+4, "end", "tick", t.text)
	}
	d.add(`<rect class="frame" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, left, upper, right-left, lower-upper)
	d.words(left, top+16, "start", "panel", p.title+" ("+p.y.label+")")
	d.words(right, lower+32, "end", "note", p.x.label)
	for _, m := range p.marks {
		d.add(`<line class="mark" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, atX(m.at), upper, atX(m.at), lower)
		d.words(atX(m.at)+4, upper+14, "start", "note", m.text)
	}
	legend := left
	for _, l := range p.lines {
		for _, piece := range l.paths(atX, atY) {
			d.add(`<polyline stroke="%s" points="%s"/>`, l.color, piece)
		}
		d.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="3"/>`, legend, top+30, legend+16, top+30, l.color)
		d.words(legend+21, top+34, "start", "note", l.name)
		legend += 40 + 7*float64(len(l.name))
	}
}

// paths are the places of a line's points, in pieces: a value that is no number breaks it.
func (l line) paths(atX, atY func(float64) float64) []string {
	var pieces []string
	var piece []string
	place := func(x, y float64) { piece = append(piece, fmt.Sprintf("%.1f,%.1f", atX(x), atY(y))) }
	for i, p := range l.points {
		if l.step && len(piece) > 0 {
			place(p[0], l.points[i-1][1])
		}
		if math.IsNaN(p[1]) {
			pieces, piece = append(pieces, strings.Join(piece, " ")), nil
			continue
		}
		place(p[0], p[1])
	}
	pieces = append(pieces, strings.Join(piece, " "))
	return slices.DeleteFunc(pieces, func(piece string) bool { return piece == "" })
}
