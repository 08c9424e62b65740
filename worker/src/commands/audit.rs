//! `worker audit`: whether everything holds that must always hold, by the data itself. Reads one snapshot and changes nothing, so that it
//! may be run beside working workers, and against a replica.

use storage::pg::audit::{self, Check, Figures, Moment, Report};

use super::Failure;
use super::context::Context;
use super::output::Progress;

pub async fn run(context: &Context, at_rest: bool) -> Result<(), Failure> {
    let moment = if at_rest { Moment::AtRest } else { Moment::AtWork };
    let progress = Progress::new();
    let report = audit::run(&context.pg, &context.settings.secrets, moment, &|line| progress.say(line)).await?;
    drop(progress);
    context.output.show(&report, || text(&report))?;
    let violated: Vec<&str> = report.violated().map(|check| check.name).collect();
    if report.ok { Ok(()) } else { Err(Failure::violated(&violated)) }
}

fn text(report: &Report) -> String {
    let mut text = format!("{:<22}  {:>10}  {:>10}  MUST HOLD\n", "CHECK", "EXAMINED", "VIOLATIONS");
    for Check { name, statement, examined, violations, examples } in &report.checks {
        text += &format!("{name:<22}  {examined:>10}  {violations:>10}  {statement}\n");
        for example in examples {
            text += &format!("  ! {example}\n");
        }
        let more = violations - examples.len() as u64;
        if more > 0 {
            text += &format!("  ! and {more} more\n");
        }
    }
    text + "\n" + &figures(&report.figures)
}

fn figures(figures: &Figures) -> String {
    let orders: Vec<String> = figures.orders.iter().map(|(status, count)| format!("{count} {status}")).collect();
    format!(
        "orders        {}\nlicense keys  {} free, {} held, {} sold\nbacklog       {} orders processing, the oldest for {} s; {} dead letters\n",
        if orders.is_empty() { "none".to_owned() } else { orders.join(", ") },
        figures.license_keys_free,
        figures.license_keys_held,
        figures.license_keys_sold,
        figures.processing_orders,
        figures.oldest_processing_s,
        figures.dead_letters,
    )
}
