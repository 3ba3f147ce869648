package bench

import (
	"fmt"
	"io"
	"math"
	"strconv"
)

// colors are those of the kinds of results, each in a darker and a lighter tone.
var colors = map[string][2]string{
	Produced: {"#1f5fa8", "#8db7e2"}, Consumed: {"#2a8a3e", "#9bd3a6"},
	Reread: {"#a3571a", "#e3b78d"}, Created: {"#7a3b9a", "#c9a4dc"},
}

// writePlot draws throughput and latency over time, and the percentiles.
func writePlot(out io.Writer, r *Report) error {
	title := fmt.Sprintf("%s: %s", r.Mode, loopText(r.Load))
	notes := [2]string{
		fmt.Sprintf("%d B, %d producers, %d partitions, RF %d, acks=%s, compression %s, outrigger bench %s", r.Load.RecordBytes,
			r.Load.Producers, r.Cluster.Partitions, r.Cluster.Replication, r.Load.Acks, r.Load.Compression, r.Version),
		fmt.Sprintf("flush policy %s; %s, %d cores, %s", r.Cluster.FlushPolicy, r.Machine.CPU, r.Machine.Cores,
			r.Started.Format("2006-01-02 15:04")),
	}
	_, err := io.WriteString(out, picture(title, notes, []panel{throughputPanel(r), latencyPanel(r), percentilePanel(r)}))
	return err
}

// timeAxis covers the series.
func timeAxis(r *Report) axis {
	end := 1.0
	if n := len(r.Series); n > 0 {
		end = r.Series[n-1].Seconds
	}
	a := linear("seconds", end)
	a.to = end
	for len(a.ticks) > 0 && a.ticks[len(a.ticks)-1].at > end {
		a.ticks = a.ticks[:len(a.ticks)-1]
	}
	return a
}

// overTime has what all panels over time have: warm-up and drain in grey, and the kill.
func overTime(r *Report, title string) panel {
	p := panel{title: title, x: timeAxis(r)}
	from := 0.0
	for _, row := range r.Series {
		if row.Phase != (window{}).phase(-1) && row.Phase != (window{to: 1}).phase(1) {
			from = row.Seconds
			continue
		}
		p.shades = append(p.shades, [2]float64{from, row.Seconds})
		from = row.Seconds
	}
	if r.Failover != nil {
		p.marks = append(p.marks, tick{r.Failover.KilledAtSeconds, "broker " + strconv.Itoa(int(r.Failover.KilledNode)) + " killed"})
	}
	return p
}

// seriesLine is one value of one kind over time: that of a row holds from the end of the row before.
func seriesLine(r *Report, name, kind, color string, value func(Cell) float64) line {
	l := line{name: name, color: color, step: true}
	from := 0.0
	for _, row := range r.Series {
		l.points = append(l.points, [2]float64{from, value(row.Cells[kind])})
		from = row.Seconds
	}
	if n := len(l.points); n > 0 {
		l.points = append(l.points, [2]float64{from, l.points[n-1][1]})
	}
	return l
}

// known is a latency, or nothing where there was none.
func known(millis float64) float64 {
	if millis == 0 {
		return math.NaN()
	}
	return millis
}

func throughputPanel(r *Report) panel {
	p := overTime(r, "Throughput")
	unit, value := "MB/s", func(c Cell) float64 { return c.MBPerSecond }
	if r.main().Bytes == 0 {
		unit, value = "per second", func(c Cell) float64 { return c.RecordsPerSecond }
	}
	most := 0.0
	for _, kind := range shownNames(r.Results) {
		l := seriesLine(r, kind, kind, colors[kind][0], value)
		for _, point := range l.points {
			most = max(most, point[1])
		}
		p.lines = append(p.lines, l)
	}
	p.y = linear(unit, most)
	return p
}

func latencyPanel(r *Report) panel {
	p := overTime(r, "Latency over time")
	least, most := math.Inf(1), 0.0
	for _, kind := range shownNames(r.Results) {
		p.lines = append(p.lines,
			seriesLine(r, kind+" p50", kind, colors[kind][1], func(c Cell) float64 { return known(c.P50) }),
			seriesLine(r, kind+" p99", kind, colors[kind][0], func(c Cell) float64 { return known(c.P99) }))
	}
	for _, l := range p.lines {
		for _, point := range l.points {
			if point[1] > 0 {
				least, most = min(least, point[1]), max(most, point[1])
			}
		}
	}
	p.y = logarithmic("ms", min(least, max(most, 1)), most)
	return p
}

// percentilePanel has one over the share that is slower on its x axis, as HDR histograms are drawn.
func percentilePanel(r *Report) panel {
	p := panel{title: "Latency by percentile"}
	rarest, least, most := 10.0, math.Inf(1), 0.0
	for _, kind := range shownNames(r.Results) {
		l := line{name: kind, color: colors[kind][0]}
		for _, point := range r.Results[kind].Curve {
			above := 1 / max(1-point.Quantile, 1/float64(max(r.Results[kind].Latency.Count, 1)))
			l.points = append(l.points, [2]float64{above, point.Millis})
			rarest, least, most = max(rarest, above), min(least, point.Millis), max(most, point.Millis)
		}
		p.lines = append(p.lines, l)
	}
	p.x = logarithmic("percentile", 1, rarest)
	for i := range p.x.ticks {
		p.x.ticks[i].text = percentileText(i)
	}
	p.y = logarithmic("ms", min(least, max(most, 1)), most)
	return p
}

// percentileText names the percentile above which one in 10^nines is.
func percentileText(nines int) string {
	if nines == 0 {
		return "0"
	}
	return strconv.FormatFloat(100-math.Pow(10, float64(2-nines)), 'f', max(0, nines-2), 64)
}
