//! How near the products of linear layers come to what the CPU's multiply-add units can do.
//!
//! `gemm_peak [--json] [--threads 1,2] [--dtypes f32,bf16,bf16-storage] [--seconds 60] [--only TEXT]`
//!
//! Time is CPU time of the process, so that other programs on the machine count as little as they can; each round is measured
//! between two loops of multiply-adds on registers alone, and rounds beside which that loop was slow are left out. A GF/s
//! figure for N threads is N times the work of one CPU second.

mod cases;
mod clock;
mod peak;

use cases::{Buffers, Case, DType};
use clock::cpu_seconds;
use megatron_kernels::pool;
use std::time::Instant;

/// Multiply-adds of one round, about 10 ms: much more than a time slice's noise, less than a burst of other programs.
const ROUND_FLOPS: f64 = 1e9;
/// Rounds beside which the register loop was slower than this share of its best are left out.
const CALM: f64 = 0.96;

struct Options {
    json: bool,
    threads: Vec<usize>,
    dtypes: Vec<DType>,
    seconds: f64,
    only: String,
}

/// GF/s of the product, and of the slower register loop around it.
struct Round {
    product: f64,
    peak: f64,
}

/// What one case came to.
struct Row {
    case: Case,
    threads: usize,
    /// The peak of as many threads.
    peak: f64,
    /// Median over the calm rounds; none where there was no calm round.
    rate: Option<f64>,
    calm: usize,
    rounds: usize,
}

fn main() {
    if let Err(told) = parse(std::env::args().skip(1)).and_then(|options| report(&options)) {
        eprintln!("{told}");
        std::process::exit(1);
    }
}

fn report(options: &Options) -> Result<(), String> {
    let mut rows = Vec::new();
    for dtype in &options.dtypes {
        let all: Vec<Case> = cases::all(*dtype).into_iter().filter(|case| case.name().contains(&options.only)).collect();
        for threads in &options.threads {
            rows.extend(measure(&all, *threads, options.seconds)?);
        }
    }
    if options.json {
        print_json(&rows)
    } else {
        print_table(&rows)
    }
    Ok(())
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let dtypes = vec![DType::F32, DType::Bf16, DType::Bf16Storage];
    let mut options = Options { json: false, threads: vec![1, cores], dtypes, seconds: 60.0, only: String::new() };
    options.threads.dedup();
    while let Some(word) = words.next() {
        if word == "--json" {
            options.json = true;
            continue;
        }
        let value = words.next().ok_or_else(|| format!("gemm_peak: {word} has no value. Write one after it."))?;
        let wrong = || format!("gemm_peak: {word} cannot be {value}. See the first lines of the source for what it takes.");
        match word.as_str() {
            "--threads" => options.threads = value.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?,
            "--dtypes" => options.dtypes = value.split(',').map(DType::parse).collect::<Option<_>>().ok_or_else(wrong)?,
            "--seconds" => options.seconds = value.parse().map_err(|_| wrong())?,
            "--only" => options.only = value,
            _ => return Err(format!("gemm_peak: {word} is no option. Use --json, --threads, --dtypes, --seconds or --only.")),
        }
    }
    Ok(options)
}

/// Goes round the cases for `seconds`, so that each has rounds in every weather.
fn measure(cases: &[Case], threads: usize, seconds: f64) -> Result<Vec<Row>, String> {
    pool::set_threads(threads);
    let mut buffers = Buffers::new(cases)?;
    let mut rounds: Vec<Vec<Round>> = cases.iter().map(|_| Vec::new()).collect();
    let start = Instant::now();
    while rounds.iter().any(|rounds| rounds.len() < 3) || start.elapsed().as_secs_f64() < seconds {
        for (case, rounds) in cases.iter().zip(&mut rounds) {
            rounds.push(one_round(case, &mut buffers)?);
        }
    }
    let mut peaks: Vec<f64> = rounds.iter().flatten().map(|round| round.peak).collect();
    peaks.sort_by(f64::total_cmp);
    let peak = peaks.get(peaks.len() * 98 / 100).copied().unwrap_or(f64::NAN);
    let row = |(case, rounds): (&Case, Vec<Round>)| {
        let mut calm: Vec<f64> = rounds.iter().filter(|round| round.peak >= CALM * peak).map(|round| round.product).collect();
        calm.sort_by(f64::total_cmp);
        let scale = threads as f64 / 1e9;
        let rate = calm.get(calm.len() / 2).map(|rate| rate * scale);
        Row { case: *case, threads, peak: peak * scale, rate, calm: calm.len(), rounds: rounds.len() }
    };
    Ok(cases.iter().zip(rounds).map(row).collect())
}

fn one_round(case: &Case, buffers: &mut Buffers) -> Result<Round, String> {
    let count = (ROUND_FLOPS / case.flops()).ceil().max(1.0);
    let before = peak::rate(case.dtype);
    let start = cpu_seconds();
    for _ in 0..count as usize {
        case.run(buffers)?;
    }
    let product = count * case.flops() / (cpu_seconds() - start);
    Ok(Round { product, peak: before.min(peak::rate(case.dtype)) })
}

fn print_table(rows: &[Row]) {
    println!(
        "{:<14}{:>8}  {:<26}{:<8}{:>8}{:>10}{:>14}",
        "dtype", "threads", "rows: in -> out", "layout", "GF/s", "of peak", "calm rounds"
    );
    for row in rows {
        let (rate, share) = row.rate.map_or(("-".into(), "-".into()), |rate| (format!("{rate:.1}"), format!("{:.3}", rate / row.peak)));
        let (dtype, layout) = (row.case.dtype.name(), row.case.layout.name());
        let calm = format!("{} of {}", row.calm, row.rounds);
        println!("{dtype:<14}{:>8}  {:<26}{layout:<8}{rate:>8}{share:>10}{calm:>14}", row.threads, row.case.shape());
    }
    for group in rows.chunk_by(|x, y| x.case.dtype == y.case.dtype && x.threads == y.threads) {
        let logs: Vec<f64> = group.iter().filter_map(|row| row.rate.map(|rate| (rate / row.peak).ln())).collect();
        let (Some(first), count) = (group.first(), logs.len() as f64) else { continue };
        let mean = (logs.iter().sum::<f64>() / count).exp();
        println!("{}, threads {}: peak {:.1} GF/s, geometric mean {mean:.3} of it", first.case.dtype.name(), first.threads, first.peak);
    }
}

fn print_json(rows: &[Row]) {
    let line = |row: &Row| {
        let Case { rows: m, input, output, layout, dtype } = row.case;
        let number = |x: Option<f64>| x.map_or("null".into(), |x| format!("{x:.4}"));
        format!(
            "  {{\"rows\": {m}, \"in\": {input}, \"out\": {output}, \"layout\": \"{}\", \"dtype\": \"{}\", \"threads\": {}, \
             \"gflops\": {}, \"peakGflops\": {:.4}, \"fraction\": {}, \"calmRounds\": {}, \"rounds\": {}}}",
            layout.name(),
            dtype.name(),
            row.threads,
            number(row.rate),
            row.peak,
            number(row.rate.map(|rate| rate / row.peak)),
            row.calm,
            row.rounds,
        )
    };
    println!("[\n{}\n]", rows.iter().map(line).collect::<Vec<_>>().join(",\n"));
}
