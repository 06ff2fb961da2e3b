//! What the machine's processors are busy with.

use std::io;
use std::time::{Duration, Instant};

/// How long processors have worked, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessorTime {
    /// When that was.
    pub at: Instant,
    /// For all programs and the kernel, in a unit of the kernel's, since the machine was started; all processors taken together.
    pub busy: u64,
    /// In which they had nothing to do, in the same unit.
    pub idle: u64,
    /// For this process.
    pub own: Duration,
    /// How many there are.
    pub processors: usize,
}

impl ProcessorTime {
    /// Until now; of all programs as exactly as the kernel counts (10 ms, as a rule).
    pub fn now() -> io::Result<ProcessorTime> {
        let text = std::fs::read_to_string("/proc/stat")?;
        let (busy, idle) = ticks(&text).ok_or(io::ErrorKind::InvalidData)?;
        let own = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let own = Duration::try_from(own).map_err(|_| io::ErrorKind::InvalidData)?;
        // The first line is that of all of them.
        let processors = text.lines().take_while(|line| line.starts_with("cpu")).skip(1).count();
        Ok(ProcessorTime { at: Instant::now(), busy, idle, own, processors })
    }

    /// The part of all processors' time since `before` in which they worked for others than this process, from 0 to 1.
    pub fn others_since(&self, before: &ProcessorTime) -> f64 {
        let busy = self.busy.saturating_sub(before.busy) as f64;
        let all = busy + self.idle.saturating_sub(before.idle) as f64;
        let passed = self.at.saturating_duration_since(before.at).as_secs_f64();
        let own = self.own.saturating_sub(before.own).as_secs_f64();
        let share = busy / all - own / (passed * self.processors as f64);
        // Where no time has passed nobody used any.
        if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }
    }
}

/// Of the first line of `/proc/stat` (proc_stat(5)): busy and idle, without what other machines on the same hardware took.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.lines().next()?.split_ascii_whitespace();
    (fields.next()? == "cpu").then_some(())?;
    let numbers: Vec<u64> = fields.take(7).map_while(|field| field.parse().ok()).collect();
    let [user, nice, system, idle, io_wait, irq, soft_irq] = numbers[..] else { return None };
    Some((user + nice + system + irq + soft_irq, idle + io_wait))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_processors_are_not_busy() {
        let text = "cpu  10 20 30 4000 500 60 70 8000 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n";
        assert_eq!(ticks(text), Some((190, 4500)));
        assert_eq!(ticks("cpu0 1 2 3 4 5 6 7 8 0 0\n"), None);
        assert_eq!(ticks("cpu 1 2 3\n"), None);
    }

    #[test]
    fn others_are_all_but_this_process() {
        let at = Instant::now();
        let own = Duration::from_millis(500);
        let before = ProcessorTime { at, busy: 100, idle: 900, own, processors: 4 };
        let second = Duration::from_secs(1);
        let after = ProcessorTime { at: at + second, busy: 300, idle: 1100, ..before };
        assert_eq!(after.others_since(&before), 0.5);
        let own = own + second;
        assert_eq!(ProcessorTime { own, ..after }.others_since(&before), 0.25);
        assert_eq!(before.others_since(&before), 0.0);
    }

    #[test]
    fn time_passes_for_this_process() {
        let before = ProcessorTime::now().unwrap();
        let mut number = 0_u64;
        loop {
            number = std::hint::black_box(number + 1);
            let now = ProcessorTime::now().unwrap();
            assert_eq!(now.processors, before.processors);
            if now.own > before.own && now.busy > before.busy {
                break;
            }
        }
    }
}
