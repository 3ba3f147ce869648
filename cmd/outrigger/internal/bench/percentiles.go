package bench

import (
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latency is a distribution, in milliseconds.
type Latency struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P75   float64 `json:"p75"`
	P90   float64 `json:"p90"`
	P95   float64 `json:"p95"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p99.9"`
	P9999 float64 `json:"p99.99"`
	Max   float64 `json:"max"`
}

// latencyOf reads the percentiles of a histogram of microseconds.
func latencyOf(h *hdrhistogram.Histogram) Latency {
	at := func(percentile float64) float64 { return millis(h.ValueAtPercentile(percentile)) }
	if h.TotalCount() == 0 {
		return Latency{}
	}
	return Latency{Count: h.TotalCount(), Mean: h.Mean() / microsPerMilli, P50: at(50), P75: at(75), P90: at(90), P95: at(95),
		P99: at(99), P999: at(99.9), P9999: at(99.99), Max: millis(h.Max())}
}

const microsPerMilli = float64(time.Millisecond / time.Microsecond)

func millis(micros int64) float64 { return float64(micros) / microsPerMilli }

// Point is one of a percentile curve: this share of all was at most so slow.
type Point struct {
	Quantile float64 `json:"quantile"`
	Millis   float64 `json:"ms"`
}

// curveSteps is how many points a curve has per factor of ten in what is left above it.
const curveSteps = 8

// curveOf goes as far up as there are records to tell of, and ends with the slowest.
func curveOf(h *hdrhistogram.Histogram) []Point {
	total := h.TotalCount()
	if total == 0 {
		return nil
	}
	var curve []Point
	for i := 0; ; i++ {
		above := math.Pow(10, -float64(i)/curveSteps)
		if above*float64(total) < 1 {
			break
		}
		curve = append(curve, Point{Quantile: 1 - above, Millis: millis(h.ValueAtQuantile(100 * (1 - above)))})
	}
	return append(curve, Point{Quantile: 1, Millis: millis(h.Max())})
}
