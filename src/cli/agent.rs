//! `countersign agent --dir DIR`: keeps a node's credentials fresh until it is told to stop.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::Rng as _;
use time::OffsetDateTime;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::CliError;
use super::bootstrap::{Held, Node};
use super::renew::{due, renew, roots_have_changed};

/// The clock is looked at this often, so that a machine that was asleep notices.
const LOOK: Duration = Duration::from_secs(20);
/// The first pause after a failure, and the longest. Each is twice the one before, give or take a half.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(20));

/// The longest `--roots-interval`.
const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// What `countersign agent` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The directory that `countersign bootstrap` has written
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// How often the server is asked whether its roots are still the same
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = interval)]
    pub roots_interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(interval) if interval <= LONGEST_INTERVAL => Ok(interval),
        Ok(_) => Err("at most a day, or a new root comes too late".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Runs until SIGTERM or SIGINT. An error only if there is nothing to keep: the directory is not a bootstrap's.
pub async fn run(args: Args) -> Result<(), CliError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Node::read(&args.dir)?;
    Held::read(&args.dir)?;
    info!(directory = %args.dir.display(), "keeping credentials fresh");
    // An attempt that a signal cuts short has changed nothing, or everything: what is in place is whole at any time.
    tokio::select! {
        () = keep(&args) => {}
        _ = terminate.recv() => info!(signal = "SIGTERM", "stopped"),
        _ = interrupt.recv() => info!(signal = "SIGINT", "stopped"),
    }
    Ok(())
}

async fn keep(args: &Args) {
    let mut failures = 0;
    let mut spread = rand::rng().random_range(0.0..=1.0);
    let mut ask_at = OffsetDateTime::now_utc() + jittered(args.roots_interval);
    loop {
        let now = OffsetDateTime::now_utc();
        // Read anew each time: an operator may have run `countersign bootstrap` or `renew` beside us.
        let wait = match step(&args.dir, now, spread, ask_at <= now).await {
            Ok(Step::Renewed) => {
                spread = rand::rng().random_range(0.0..=1.0);
                Duration::ZERO
            }
            Ok(Step::Rest(until)) => {
                if ask_at <= now {
                    ask_at = now + jittered(args.roots_interval);
                }
                Duration::try_from(until.min(ask_at) - now).unwrap_or_default()
            }
            Err(error) => {
                let pause = back_off(failures);
                failures += 1;
                warn!(%error, again_in = %humantime::format_duration(pause), "credentials could not be renewed");
                tokio::time::sleep(pause).await;
                continue;
            }
        };
        failures = 0;
        tokio::time::sleep(wait.clamp(Duration::from_millis(10), LOOK)).await;
    }
}

enum Step {
    Renewed,
    Rest(OffsetDateTime),
}

async fn step(directory: &Path, now: OffsetDateTime, spread: f64, ask: bool) -> Result<Step, CliError> {
    let held = Held::read(directory)?;
    let due = due(held.since, held.not_after, spread);
    if now < due && !(ask && roots_have_changed(directory).await?) {
        return Ok(Step::Rest(due));
    }
    let renewed = renew(directory).await?;
    info!(serial = %renewed.serial, not_after = %renewed.not_after, "credentials are renewed");
    Ok(Step::Renewed)
}

fn back_off(failures: u32) -> Duration {
    jittered(BACK_OFF.0.saturating_mul(1 << failures.min(16)).min(BACK_OFF.1))
}

/// Half as long to half as long again.
fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(rand::rng().random_range(0.5..=1.5))
}
