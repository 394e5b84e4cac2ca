//! Plots of the results, as SVG.

use crate::measurement::Results;
use crate::operation::Operation;
use crate::page::thousands;
use crate::variant::Variant;
use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{
    AsRangedCoord, DefaultFormatting, KeyPointHint, Ranged, ValueFormatter,
};
use plotters::prelude::*;
use std::error::Error;
use std::ops::Range;

const SIZE: (u32, u32) = (900, 440);
/// The width of the legend.
const LEGEND: u32 = 160;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A file name and its SVG.
pub(crate) type Plot = (&'static str, String);

/// A line: a gateway, and its value at each size of the table.
type Line = (Variant, Vec<(f64, f64)>);

/// All plots.
pub(crate) fn all(results: &Results) -> Result<Vec<Plot>> {
    let operation = Operation::Connection.name();
    let ratio = |rows, gateway: &str| match gateway == Variant::Open.name() {
        true => Some(1.0),
        false => results.cost(rows, gateway, operation)?.ratio,
    };
    let memory = |rows, gateway: &str| Some(results.table(rows, gateway)?.memory_mib);
    let stall = |rows, gateway: &str| results.table(rows, gateway)?.p99_during_ms;
    let lines = |value: &dyn Fn(usize, &str) -> Option<f64>| lines(results, value);
    let ratios = lines(&ratio);
    let near: Vec<_> = ratios.iter().filter(|(_, points)| highest(points) < 1.5).cloned().collect();
    Ok(vec![
        (
            "cpu.svg",
            log_chart("CPU of a new connection against no authorization", "ratio", &ratios)?,
        ),
        ("cpu-near.svg", chart("CPU of a new connection, below a ratio of 1.5", "ratio", &near)?),
        ("memory.svg", log_chart("Memory of a gateway with one worker", "MiB", &lines(&memory))?),
        (
            "update.svg",
            log_chart(
                "Requests on open connections while the table changes",
                "p99 in ms",
                &lines(&stall),
            )?,
        ),
    ])
}

fn lines(results: &Results, value: &dyn Fn(usize, &str) -> Option<f64>) -> Vec<Line> {
    let sizes = results.sizes(Operation::Connection.name());
    let points = |variant: Variant| {
        let point = |&rows: &usize| Some((rows as f64, value(rows, variant.name())?));
        sizes.iter().filter_map(point).collect::<Vec<_>>()
    };
    let lines = Variant::ALL.into_iter().map(|variant| (variant, points(variant)));
    lines.filter(|(_, points)| !points.is_empty()).collect()
}

fn highest(points: &[(f64, f64)]) -> f64 {
    points.iter().map(|point| point.1).fold(0.0, f64::max)
}

/// A chart with a little room above and below the lines.
fn chart(title: &str, unit: &str, lines: &[Line]) -> Result<String> {
    let (low, high) = range(lines);
    let room = ((high - low) * 0.1).max(0.01);
    draw(title, unit, lines, low - room..high + room)
}

/// A chart whose values differ by factors.
fn log_chart(title: &str, unit: &str, lines: &[Line]) -> Result<String> {
    let (low, high) = range(lines);
    draw(
        title,
        unit,
        lines,
        Logarithmic { range: low * 0.8..high * 1.3, marks: &[1.0, 2.0, 3.0, 5.0, 7.0] },
    )
}

fn range(lines: &[Line]) -> (f64, f64) {
    let values = lines.iter().flat_map(|(_, points)| points).map(|point| point.1);
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    })
}

fn draw<Y>(title: &str, unit: &str, lines: &[Line], values: Y) -> Result<String>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64> + Ranged<ValueType = f64>,
{
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let (left, right) = area.split_horizontally(SIZE.0 - LEGEND);
        area.fill(&WHITE)
            .map_err(Into::into)
            .and_then(|()| draw_lines(&left, title, unit, lines, values))
            .and_then(|()| draw_legend(&right, lines))
            .and_then(|()| Ok(area.present()?))
            .map_err(|error| anyhow!("{title}: {error}"))?;
    }
    Ok(svg)
}

fn draw_lines<Y>(
    area: &Area<'_>,
    title: &str,
    unit: &str,
    lines: &[Line],
    values: Y,
) -> Result<(), Box<dyn Error>>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64> + Ranged<ValueType = f64>,
{
    let sizes: Vec<_> = lines.iter().flat_map(|(_, points)| points).map(|point| point.0).collect();
    let least = sizes.iter().copied().fold(f64::INFINITY, f64::min);
    let most = sizes.iter().copied().fold(0.0, f64::max);
    let sizes = Logarithmic { range: least * 0.8..most * 1.25, marks: &[1.0] };
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(sizes, values)?;
    chart
        .configure_mesh()
        .x_desc("rows of the table")
        .y_desc(unit)
        .x_label_formatter(&|rows| thousands(rows.round() as usize))
        .y_label_formatter(&|value| match *value < 10.0 {
            true => format!("{value:.2}"),
            false => thousands(value.round() as usize),
        })
        .label_style(("sans-serif", 15))
        .light_line_style(WHITE)
        .draw()?;
    for (variant, points) in lines {
        let style = color(*variant).stroke_width(2);
        chart.draw_series(LineSeries::new(points.iter().copied(), style).point_size(3))?;
    }
    Ok(())
}

/// The names of the lines, beside the chart: inside it they would hide some.
fn draw_legend(area: &Area<'_>, lines: &[Line]) -> Result<(), Box<dyn Error>> {
    for (place, (variant, _)) in (0..).zip(lines) {
        let y = 60 + 24 * place;
        let style = color(*variant).stroke_width(2);
        area.draw(&PathElement::new([(0, y), (22, y)], style))?;
        area.draw(&Text::new(variant.name(), (30, y - 8), ("sans-serif", 15)))?;
    }
    Ok(())
}

/// Colours that people with any colour vision can tell apart (Okabe and Ito).
fn color(variant: Variant) -> RGBColor {
    match variant {
        Variant::Open => RGBColor(0, 0, 0),
        Variant::OpenLate => RGBColor(120, 120, 120),
        Variant::EmptyWasm => RGBColor(86, 180, 233),
        Variant::FedgateWasm => RGBColor(0, 114, 178),
        Variant::FedgateNative => RGBColor(0, 158, 115),
        Variant::RbacMatcher => RGBColor(230, 159, 0),
        Variant::RbacRules => RGBColor(213, 94, 0),
    }
}

/// A logarithmic axis, with these marks in each power of ten.
struct Logarithmic {
    range: Range<f64>,
    marks: &'static [f64],
}

impl Ranged for Logarithmic {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let (low, high) = (self.range.start.ln(), self.range.end.ln());
        let part = (value.ln() - low) / (high - low);
        limit.0 + (f64::from(limit.1 - limit.0) * part).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        let powers = (-3..8).map(|power| 10_f64.powi(power));
        let marks = powers.flat_map(|power| self.marks.iter().map(move |mark| mark * power));
        marks.filter(|mark| self.range.contains(mark)).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_a_line_for_each_gateway() {
        let lines = [
            (Variant::FedgateWasm, vec![(10.0, 1.1), (100_000.0, 1.2)]),
            (Variant::RbacRules, vec![(10.0, 1.1), (10_000.0, 3.7)]),
        ];
        for svg in [chart("A title", "ratio", &lines), log_chart("A title", "ratio", &lines)] {
            let svg = svg.unwrap();
            for text in ["A title", "fedgate (wasm)", "RBAC rules", "100,000"] {
                assert!(svg.contains(text), "no {text} in {svg}");
            }
            // A mark at each point.
            assert_eq!(svg.matches("r=\"3\"").count(), 4, "{svg}");
        }
    }
}
