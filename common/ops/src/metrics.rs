//! Metrics of one process: a registry with its prefix, the process's own figures and the
//! version, and [`metrics!`](crate::metrics!), by which a struct is its own page: field
//! names are metric names, doc comments are help texts.
//!
//! Labels must be bounded: routes, codes, names of tasks; never anything a caller sends.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{Counter, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use tokio::runtime::Handle;

/// Declares a struct of metrics, and `register(&prometheus::Registry) -> Result<Self, prometheus::Error>` for it.
///
/// Each field is documented (that is its help text) and has one of the `prometheus` types; labels follow in
/// brackets, histogram buckets after `=`. Where a metric has one label whose values are known, they follow it
/// after `in`: each has its series from the start, at 0. Otherwise the first event of its kind would be a series
/// that begins at 1, in which `increase` sees nothing. Giving labels to a type without them, or buckets to anything but a
/// histogram, does not compile.
///
/// ```
/// use ops::prometheus::{Histogram, IntCounterVec};
///
/// ops::metrics! {
///     /// What the listener counts.
///     pub struct Listener {
///         /// Requests answered, by route and status code.
///         pub requests_total: IntCounterVec["route", "code"],
///         /// Connections ended, by reason.
///         pub ended_total: IntCounterVec["reason" in ["timeout", "flood"]],
///         /// Time from the first byte of the request to the last of the answer.
///         pub request_duration_seconds: Histogram = vec![0.001, 0.01, 0.1, 1.0],
///     }
/// }
///
/// let metrics = ops::metrics::Metrics::new("demo", &[("version", "1.2.3")])?;
/// let listener = Listener::register(metrics.registry())?;
/// listener.requests_total.with_label_values(&["/", "200"]).inc();
/// assert!(metrics.encode()?.contains("demo_requests_total{code=\"200\",route=\"/\"} 1"));
/// assert!(metrics.encode()?.contains("demo_ended_total{reason=\"flood\"} 0"));
/// # Ok::<(), ops::prometheus::Error>(())
/// ```
#[macro_export]
macro_rules! metrics {
    (@make $kind:ty, $opts:expr, [], []) => {
        <$kind>::with_opts($opts.into())
    };
    (@make $kind:ty, $opts:expr, [], [$buckets:expr]) => {
        <$kind>::with_opts($crate::prometheus::HistogramOpts::from($opts).buckets($buckets))
    };
    (@make $kind:ty, $opts:expr, [$($label:literal),+], []) => {
        <$kind>::new($opts.into(), &[$($label),+])
    };
    (@make $kind:ty, $opts:expr, [$($label:literal),+], [$buckets:expr]) => {
        <$kind>::new($crate::prometheus::HistogramOpts::from($opts).buckets($buckets), &[$($label),+])
    };
    (
        $(#[$attribute:meta])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $help:literal])+
                $field_vis:vis $field:ident : $kind:ty $([$($label:literal $(in $values:expr)?),+ $(,)?])? $(= $buckets:expr)?
            ),+ $(,)?
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Debug)]
        $vis struct $name {
            $($(#[doc = $help])+ $field_vis $field: $kind,)+
        }

        impl $name {
            /// What each of them is, for the table of all metrics.
            pub const DESCRIBED: &'static [$crate::metrics::Described] = &[$(
                $crate::metrics::Described {
                    name: stringify!($field),
                    kind: stringify!($kind),
                    labels: &[$($($label),+)?],
                    values: &[$($($(&$values,)?)+)?],
                    help: concat!($($help),+),
                },
            )+];

            /// Makes the metrics and puts them on the page. Fails if one of the names is taken.
            $vis fn register(registry: &$crate::prometheus::Registry) -> ::std::result::Result<Self, $crate::prometheus::Error> {
                $(
                    let opts = $crate::prometheus::Opts::new(stringify!($field), concat!($($help),+).trim());
                    let $field = $crate::metrics!(@make $kind, opts, [$($($label),+)?], [$($buckets)?])?;
                    registry.register(::std::boxed::Box::new($field.clone()))?;
                    $($($(for value in $values {
                        let _ = $field.with_label_values(&[value]);
                    })?)+)?
                )+
                ::std::result::Result::Ok(Self { $($field),+ })
            }
        }
    };
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// Without the binary's prefix.
    pub name: &'static str,
    /// Its Rust type.
    pub kind: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What its label says, where that is known beforehand.
    pub values: &'static [&'static [&'static str]],
    /// What it says.
    pub help: &'static str,
}

metrics! {
    /// How the runtime that does the work is doing.
    pub struct RuntimeMetrics {
        /// Threads of the runtime that does the work.
        pub(crate) runtime_threads: IntGauge,
        /// Tasks that have not ended.
        pub(crate) runtime_tasks: IntGauge,
        /// Tasks that wait for a thread to take them up.
        pub(crate) runtime_queued_tasks: IntGauge,
        /// Seconds that the runtime's threads have spent working, all of them together.
        pub(crate) runtime_busy_seconds_total: Counter,
    }
}

metrics! {
    /// What every binary counts about its own life.
    pub struct Life {
        /// Panics anywhere in the process. None is expected: each one is a defect to report.
        pub(crate) panics_total: IntCounter,
        /// Times a task that should never end was started again, by task.
        pub(crate) task_restarts_total: IntCounterVec["task"],
        /// 1 while the named check passes, 0 while it fails.
        pub(crate) check_ok: IntGaugeVec["check"],
    }
}

/// The metrics of one process. Clones share everything.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Adds the binary's prefix to every name.
    own: Registry,
    /// Names that are the same for every process in the world, hence without the prefix.
    process: Registry,
    life: Life,
    runtime: OnceLock<(Handle, RuntimeMetrics)>,
}

impl Metrics {
    /// Metrics named `<prefix>_…`, with `<prefix>_build_info{…} 1` carrying the `build` labels.
    ///
    /// # Errors
    /// When the prefix is empty or a label's name is not one.
    pub fn new(prefix: &str, build: &[(&str, &str)]) -> Result<Metrics, prometheus::Error> {
        let own = Registry::new_custom(Some(prefix.to_owned()), None)?;
        let mut opts = Opts::new("build_info", "Always 1; its labels say what is running.");
        for (name, value) in build {
            opts = opts.const_label(*name, *value);
        }
        let build_info = IntGauge::with_opts(opts)?;
        build_info.set(1);
        own.register(Box::new(build_info))?;

        let process = Registry::new();
        if let Some(collector) = process_collector() {
            process.register(collector)?;
        }
        let life = Life::register(&own)?;
        Ok(Metrics(Arc::new(Inner { own, process, life, runtime: OnceLock::new() })))
    }

    /// Where a binary's own metrics register; it adds the prefix.
    pub fn registry(&self) -> &Registry {
        &self.0.own
    }

    /// `<prefix>_panics_total`, for [`log::install_panic_hook`](crate::log::install_panic_hook).
    pub fn panics_total(&self) -> IntCounter {
        self.0.life.panics_total.clone()
    }

    /// Looks from now on, whenever the page is asked for, at the runtime this is called in: the one that does the work.
    ///
    /// # Errors
    /// When this was called before.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn watch_runtime(&self) -> Result<(), prometheus::Error> {
        let metrics = RuntimeMetrics::register(&self.0.own)?;
        let _ = self.0.runtime.set((Handle::current(), metrics));
        Ok(())
    }

    fn look_at_runtime(&self) {
        let Some((handle, metrics)) = self.0.runtime.get() else { return };
        let runtime = handle.metrics();
        metrics.runtime_threads.set(runtime.num_workers() as i64);
        metrics.runtime_tasks.set(runtime.num_alive_tasks() as i64);
        metrics.runtime_queued_tasks.set(runtime.global_queue_depth() as i64);
        let busy: Duration = (0..runtime.num_workers()).map(|thread| runtime.worker_total_busy_duration(thread)).sum();
        metrics.runtime_busy_seconds_total.inc_by((busy.as_secs_f64() - metrics.runtime_busy_seconds_total.get()).max(0.0));
    }

    /// The whole page in the Prometheus text format, version 0.0.4.
    ///
    /// # Errors
    /// When a metric cannot be written: a defect in whoever registered it.
    pub fn encode(&self) -> Result<String, prometheus::Error> {
        self.look_at_runtime();
        let mut families = self.0.process.gather();
        families.extend(self.0.own.gather());
        TextEncoder::new().encode_to_string(&families)
    }

    pub(crate) fn life(&self) -> &Life {
        &self.0.life
    }
}

/// CPU, memory, file descriptors, threads and start time of this process, where the system tells them.
fn process_collector() -> Option<Box<dyn Collector>> {
    #[cfg(target_os = "linux")]
    return Some(Box::new(prometheus::process_collector::ProcessCollector::for_self()));
    #[cfg(not(target_os = "linux"))]
    return None;
}
