//! The questions of each dashboard, the most urgent first: is it broken, for whom, since when; then traffic, errors and latency; then causes.
//!
//! Where there is nothing to ask, a question has no answer: neither green nor red. Whether anything runs is asked of all instances, whichever
//! are looked at.

use super::Bad::{Above, Below};
use super::{Board, Row, series, stat, table};

/// All dashboards.
pub(super) fn all() -> Vec<Board> {
    vec![overview(), edge(), worker(), webhooks(), payments(), dependencies()]
}

/// The share of requests that failed through our fault, over 5 minutes.
fn failed() -> String {
    let requests = |more: &str| format!("sum(rate(edge_requests_total{{instance=~\"$instance\"{more}}}[5m]))");
    format!("({} or vector(0)) / {}", requests(",code=~\"5..\""), requests(""))
}

/// A percentile of a histogram, apart by `by` where that names a label.
fn percentile(of: f64, histogram: &str, window: &str, by: &str) -> String {
    let by = if by.is_empty() { "le".to_owned() } else { format!("le, {by}") };
    format!("histogram_quantile({of}, sum by ({by}) (rate({histogram}_bucket{{instance=~\"$instance\"}}[{window}])))")
}

/// How often something happens, apart by a label.
fn rate_by(label: &str, counter: &str) -> String {
    format!("sum by ({label}) (rate({counter}{{instance=~\"$instance\"}}[$__rate_interval]))")
}

/// How often something happens that has no labels.
fn rate(counter: &str) -> String {
    format!("sum(rate({counter}{{instance=~\"$instance\"}}[$__rate_interval]))")
}

/// The worst of all instances: every worker tells the same of the database, each at its own moment.
fn worst(gauge: &str) -> String {
    format!("max({gauge}{{instance=~\"$instance\"}})")
}

/// All instances together.
fn sum(gauge: &str) -> String {
    format!("sum({gauge}{{instance=~\"$instance\"}})")
}

/// How many times in the last hour.
fn in_an_hour(counter: &str, filter: &str) -> String {
    format!("sum(increase({counter}{{instance=~\"$instance\"{filter}}}[1h]))")
}

fn overview() -> Board {
    let down = "sum(1 - up{job=~\"edge|worker\"})";
    let burn = |window| format!("slo:bad:ratio_rate{window} / on (slo) slo:budget:ratio");
    let broken = vec![
        stat("Are partners being served?", "percentunit", Below(0.999, 0.99), format!("1 - {}", failed())).normal(
            "Share of the last 5 minutes' requests that did not fail through our fault. Normal: above 99.9 %. Empty while nobody calls.",
        ),
        stat("Are instances down?", "none", Above(1.0, 1.0), down).normal("Edges and workers that cannot be scraped. Normal: 0."),
        stat("Are answers fast?", "s", Above(0.1, 0.5), percentile(0.99, "edge_request_seconds", "5m", ""))
            .normal("p99 over all routes, 5 minutes. Normal: below 100 ms. Empty while nobody calls."),
        stat("Do buyers get their keys?", "s", Above(30.0, 300.0), worst("worker_orders_processing_oldest_seconds"))
            .normal("Age of the oldest order in processing. Normal: below 30 s."),
        stat("Do webhooks arrive?", "s", Above(300.0, 3600.0), worst("worker_webhook_oldest_pending_seconds"))
            .normal("Age of the oldest delivery to an enabled endpoint. Normal: seconds; more while a partner's endpoint fails."),
        stat("Do payments count?", "s", Above(60.0, 300.0), worst("worker_stripe_events_waiting_oldest_seconds"))
            .normal("Age of the oldest of Stripe's events that is to be applied. Normal: 0 to a few seconds."),
    ];
    let promises = vec![
        series("How fast does the error budget burn?", "none")
            .normal("By promise, all instances. 1 spends the budget of 30 days in 30 days; 14.4 spends a fiftieth of it in an hour. Normal: below 1. Empty while nobody calls.")
            .bad(Above(1.0, 14.4))
            .line("{{slo}}, 1 hour", burn("1h"))
            .line("{{slo}}, 6 hours", burn("6h"))
            .line("{{slo}}, 3 days", burn("3d")),
        series("What waits, since when?", "s")
            .normal("Age of the oldest order in processing, webhook and payment. Normal: near 0; no line while no worker runs.")
            .line("orders", worst("worker_orders_processing_oldest_seconds"))
            .line("webhooks", worst("worker_webhook_oldest_pending_seconds"))
            .line("payments", worst("worker_stripe_events_waiting_oldest_seconds")),
    ];
    let whom = vec![
        series("Which routes fail?", "reqps").normal("Answers with 5xx, by route and code. Normal: none. Empty while nothing fails.").line(
            "{{route}} {{code}}",
            "sum by (route, code) (rate(edge_requests_total{instance=~\"$instance\",code=~\"5..\"}[$__rate_interval]))",
        ),
        series("How much do partners ask?", "reqps")
            .normal("Requests, by route. Normal: as at this hour of other days.")
            .line("{{route}}", rate_by("route", "edge_requests_total")),
        series("Which routes are slow?", "s")
            .normal("p99 by route. Normal: milliseconds; fulfill up to some 100 ms. Empty while nobody calls.")
            .line("{{route}}", percentile(0.99, "edge_request_seconds", "$__rate_interval", "route")),
        series("Which instances are reached?", "none")
            .normal("1 while Prometheus reaches the instance. Normal: 1 for all.")
            .bad(Below(1.0, 1.0))
            .line("{{job}} {{instance}}", "up{job=~\"edge|worker\",instance=~\"$instance\"}"),
        series("How much of the error budget is left?", "percentunit")
            .normal("By promise, of 30 days' budget, as far back as the data goes, quiet days like busy ones. Normal: above a quarter. Empty while there is no hour's data.")
            .bad(Below(0.25, 0.0))
            .line("{{slo}}", "1 - avg_over_time(slo:bad:ratio_rate1h[30d:1h]) / on (slo) slo:budget:ratio"),
        series("Which checks fail?", "none")
            .normal("1 while a check passes. Normal: 1 for all.")
            .bad(Below(1.0, 1.0))
            .line("{{job}} {{check}}", "min by (job, check) ({__name__=~\"edge_check_ok|worker_check_ok\",instance=~\"$instance\"})"),
    ];
    let rows = vec![
        Row { title: "Is it broken, for whom, since when", panels: broken },
        Row { title: "Promises", panels: promises },
        Row { title: "Traffic, errors, latency", panels: whom },
        Row {
            title: "What runs",
            panels: vec![
                table(
                    "Which versions run?",
                    "group by (job, instance, version) ({__name__=~\"edge_build_info|worker_build_info\",instance=~\"$instance\"})",
                )
                .normal("Normal: one version, but for a roll-out."),
            ],
        },
    ];
    Board { name: "overview", title: "SLO overview", instances: "up{job=~\"edge|worker\"}", rows }
}

fn edge() -> Board {
    let broken = vec![
        stat("Are partners being served?", "percentunit", Below(0.999, 0.99), format!("1 - {}", failed()))
            .normal("Share of requests that did not fail through our fault, 5 minutes. Normal: above 99.9 %. Empty while nobody calls."),
        stat("Are answers fast?", "s", Above(0.1, 0.5), percentile(0.99, "edge_request_seconds", "5m", ""))
            .normal("p99 over all routes, 5 minutes. Normal: below 100 ms. Empty while nobody calls."),
        stat("Is what edges know fresh?", "s", Above(5.0, 30.0), worst("edge_snapshot_age_seconds"))
            .normal("Oldest snapshot of keys, stores and prices. Normal: about a second; it grows while Postgres is away."),
        stat("Do checks fail?", "none", Above(1.0, 1.0), "sum(1 - edge_check_ok{instance=~\"$instance\"})")
            .normal("Health checks of edges that fail. Normal: 0."),
        stat("Do callers wait for workers?", "none", Above(100.0, 1000.0), sum("edge_fulfill_waiting"))
            .normal("Fulfill requests whose answer is not there yet. Normal: a few."),
        stat("Did anything panic?", "none", Above(1.0, 1.0), in_an_hour("edge_panics_total", ""))
            .normal("Panics in an hour. Normal: 0; each is a defect to report."),
    ];
    let traffic = vec![
        series("How much do partners ask?", "reqps")
            .normal("Requests, by route. Normal: as at this hour of other days.")
            .line("{{route}}", rate_by("route", "edge_requests_total")),
        series("How are they answered?", "reqps")
            .normal("Answers, by status code. Normal: 2xx, some 4xx, no 5xx.")
            .line("{{code}}", rate_by("code", "edge_requests_total")),
        series("Which routes are slow?", "s")
            .normal("p99 by route. Normal: milliseconds; fulfill up to some 100 ms. Empty while nobody calls.")
            .line("{{route}}", percentile(0.99, "edge_request_seconds", "$__rate_interval", "route")),
        series("Who is refused at the gate?", "reqps")
            .normal("Requests without a good key, by code, and those beyond a limit, by quota. Normal: few. Empty while nobody is refused.")
            .line("{{code}}", rate_by("code", "edge_gate_refusals_total"))
            .line("429 {{quota}}", rate_by("quota", "edge_rate_limited_total")),
    ];
    let causes = vec![
        series("Do fulfill requests end with keys?", "reqps")
            .normal("Fulfill requests, by how they were answered. Normal: nearly all by a worker. Empty while nobody fulfills.")
            .line("{{how}}", rate_by("how", "edge_fulfill_answers_total")),
        series("How many are connected?", "none")
            .normal("Open connections, and addresses whose buckets are remembered. Normal: even over instances, far from the limits; a steep rise of addresses is a flood.")
            .line("connections {{instance}}", "edge_connections{instance=~\"$instance\"}")
            .line("addresses {{instance}}", "edge_address_buckets{instance=~\"$instance\"}"),
        series("Why are connections ended?", "cps")
            .normal("Connections refused or ended by us, by reason. Normal: few. Empty while nobody misbehaves.")
            .line("{{reason}}", rate_by("reason", "edge_connections_ended_total")),
        series("Is the snapshot complete?", "none")
            .normal("What edges know, by instance. Normal: the same everywhere, changing slowly.")
            .line("keys {{instance}}", "edge_snapshot_keys{instance=~\"$instance\"}")
            .line("stores {{instance}}", "edge_snapshot_stores{instance=~\"$instance\"}"),
        series("How long do replies take?", "s")
            .normal("From a question to its worker's reply, p99. Normal: below 100 ms, payments as long as Stripe takes. Empty while nobody asks.")
            .bad(Above(1.0, 1.5))
            .line("{{queue}}", percentile(0.99, "edge_reply_seconds", "$__rate_interval", "queue")),
        series("Does anything come too late?", "cps")
            .normal("Workers' replies for which nobody waits any more, and usage reports that have to be written again. Normal: 0.")
            .line("replies", rate("edge_replies_late_total"))
            .line("usage reports", rate("edge_usage_failures_total")),
    ];
    let rows = vec![
        Row { title: "Is it broken, for whom, since when", panels: broken },
        Row { title: "Traffic, errors, latency", panels: traffic },
        Row { title: "Causes", panels: causes },
    ];
    Board { name: "edge", title: "Edge", instances: "edge_build_info", rows }
}

fn worker() -> Board {
    let broken = vec![
        stat("Does a worker run?", "none", Below(2.0, 1.0), "sum(up{job=\"worker\"}) or vector(0)")
            .normal("Workers that can be scraped, all of them. Normal: two or more, so that one may die."),
        stat("How old is the oldest order?", "s", Above(30.0, 300.0), worst("worker_orders_processing_oldest_seconds"))
            .normal("The oldest order in processing. Normal: below 30 s."),
        stat(
            "Does the queue grow?",
            "none",
            Above(1000.0, 10000.0),
            "max(worker_queue_entries{queue=\"fulfill_order\"}) or max(edge_queue_depth)",
        )
        .normal("Entries in the fulfill queue, as workers see it, or where there is none as edges do. Normal: a few; steady growth means that workers stand or are too few."),
        stat("Do paid orders lack keys?", "none", Above(1.0, 10.0), worst("worker_orders_awaiting_stock"))
            .normal("Paid orders that wait for stock. Normal: 0; partners have to import keys."),
        stat("Were jobs given up?", "none", Above(1.0, 10.0), in_an_hour("worker_dead_letters_total", ""))
            .normal("Dead letters in an hour. Normal: 0."),
        stat("Did anything panic?", "none", Above(1.0, 1.0), in_an_hour("worker_panics_total", ""))
            .normal("Panics in an hour. Normal: 0; each is a defect to report."),
    ];
    let traffic = vec![
        series("How much work is done?", "ops")
            .normal("Jobs that ended, by job and outcome. Normal: nearly all done.")
            .line("{{kind}} {{outcome}}", rate_by("kind, outcome", "worker_jobs_total")),
        series("How long do jobs wait?", "s")
            .normal("From being queued to being taken. Normal: milliseconds. Empty while there are no jobs.")
            .bad(Above(1.0, 5.0))
            .line("p50", percentile(0.5, "worker_queue_wait_seconds", "$__rate_interval", ""))
            .line("p99", percentile(0.99, "worker_queue_wait_seconds", "$__rate_interval", "")),
        series("How long do batches take?", "s")
            .normal("From being taken out of the queue to being answered. Normal: below 100 ms. Empty while there are no jobs.")
            .line("p50", percentile(0.5, "worker_batch_seconds", "$__rate_interval", ""))
            .line("p99", percentile(0.99, "worker_batch_seconds", "$__rate_interval", "")),
        series("How large are batches?", "none")
            .normal("Jobs in one transaction. Normal: 1 when quiet, tens under load. Empty while there are no jobs.")
            .line("average", format!("{} / {}", rate("worker_batch_jobs_sum"), rate("worker_batch_jobs_count"))),
    ];
    let causes = vec![
        series("Which queues wait?", "s")
            .normal("Age of each queue's oldest entry. Normal: 0.")
            .bad(Above(5.0, 30.0))
            .line("{{queue}}", "max by (queue) (worker_queue_oldest_seconds{instance=~\"$instance\"})"),
        series("Do workers die at work?", "cps")
            .normal("Jobs picked up again from another worker, and dead letters. Normal: 0.")
            .line("{{queue}} picked up again", rate_by("queue", "worker_redelivered_total"))
            .line("dead letters", rate("worker_dead_letters_total")),
        series("How many keys are allocated?", "cps")
            .normal("License keys, and orders that got those they had waited for. Normal: as sales are.")
            .line("license keys", rate("worker_license_keys_allocated_total"))
            .line("orders filled late", rate("worker_orders_filled_total")),
        series("How many orders are open?", "none")
            .normal("Orders in processing, and paid ones that wait for stock. Normal: few.")
            .line("processing", worst("worker_orders_processing"))
            .line("awaiting stock", worst("worker_orders_awaiting_stock")),
        series("Are old rows let go?", "s")
            .normal("Time since a worker last found nothing old left. Normal: below a day. Empty while no round is complete.")
            .bad(Above(86_400.0, 259_200.0))
            .line("since the last round", "time() - (max(worker_prune_round_timestamp_seconds{instance=~\"$instance\"}) > 0)"),
        series("Does stock last?", "none")
            .normal("Products whose license keys are used up within so many days, as they sell. Normal: 0 within 3 days.")
            .line("within {{days}} days", "max by (days) (worker_products_running_out{instance=~\"$instance\"})")
            .line("sold out", worst("worker_products_sold_out")),
    ];
    let rows = vec![
        Row { title: "Is it broken, for whom, since when", panels: broken },
        Row { title: "Traffic, errors, latency", panels: traffic },
        Row { title: "Causes", panels: causes },
    ];
    Board { name: "worker", title: "Worker and queues", instances: "worker_build_info", rows }
}

fn webhooks() -> Board {
    let delivered = "sum(rate(worker_webhook_attempts_total{instance=~\"$instance\",outcome=\"delivered\"}[5m])) or vector(0)";
    let attempts = "sum(rate(worker_webhook_attempts_total{instance=~\"$instance\"}[5m]))";
    let broken = vec![
        stat("Do webhooks arrive?", "s", Above(300.0, 3600.0), worst("worker_webhook_oldest_pending_seconds"))
            .normal("To an endpoint that is enabled. Normal: seconds; more while a partner's endpoint fails."),
        stat("Do attempts succeed?", "percentunit", Below(0.95, 0.8), format!("({delivered}) / {attempts}"))
            .normal("Share of attempts, 5 minutes. Normal: above 95 %; one dead partner lowers it. Empty while nothing is sent."),
        stat("Are first attempts prompt?", "s", Above(1.0, 10.0), percentile(0.99, "worker_webhook_wait_seconds", "5m", ""))
            .normal("p99 from a first attempt being due to its being made. Normal: below 1 s. Empty while nothing is sent."),
        stat("How many are owed?", "none", Above(1000.0, 100_000.0), worst("worker_webhook_pending"))
            .normal("Deliveries that are not settled. Normal: tens."),
        stat("How many endpoints are off?", "none", Above(1.0, 10.0), worst("worker_webhook_endpoints_disabled"))
            .normal("Disabled because they failed. Normal: 0; their partners have been told."),
        stat("Are partners quick?", "s", Above(2.0, 8.0), percentile(0.99, "worker_webhook_attempt_seconds", "5m", ""))
            .normal("p99 of one attempt, 5 minutes. Normal: below 1 s; seconds mean that endpoints hang. Empty while nothing is sent."),
    ];
    let traffic = vec![
        series("What comes of attempts?", "ops")
            .normal("Attempts, by outcome. Normal: delivered. Empty while nothing is sent.")
            .line("{{outcome}}", rate_by("outcome", "worker_webhook_attempts_total")),
        series("How long do partners take?", "s")
            .normal("Time of one attempt. Normal: below 1 s. Empty while nothing is sent.")
            .line("p50", percentile(0.5, "worker_webhook_attempt_seconds", "$__rate_interval", ""))
            .line("p99", percentile(0.99, "worker_webhook_attempt_seconds", "$__rate_interval", "")),
        series("How long do events wait?", "s")
            .normal("From a first attempt being due to its being made. Normal: milliseconds. Empty while nothing is sent.")
            .line("p50", percentile(0.5, "worker_webhook_wait_seconds", "$__rate_interval", ""))
            .line("p99", percentile(0.99, "worker_webhook_wait_seconds", "$__rate_interval", "")),
        series("Does the backlog shrink?", "none")
            .normal("Deliveries not settled, and of these kept for disabled endpoints. Normal: tens.")
            .line("pending", worst("worker_webhook_pending"))
            .line("kept", worst("worker_webhook_kept")),
    ];
    let causes = vec![
        series("Does anybody send what is due?", "s")
            .normal("Since when a delivery has been due that no worker has taken up, of endpoints that are well. Normal: 0.")
            .bad(Above(10.0, 60.0))
            .line("due", worst("worker_webhook_due_oldest_seconds")),
        series("Are workers at their limit?", "none")
            .normal("Attempts under way, by worker. Normal: far below the limit; near it, partners hang.")
            .line("{{instance}}", "worker_webhook_in_flight{instance=~\"$instance\"}"),
        series("Do claimed deliveries queue up?", "none")
            .normal("Claimed by a worker and waiting for their turn. Normal: near 0.")
            .line("{{instance}}", "worker_webhook_waiting{instance=~\"$instance\"}"),
    ];
    let rows = vec![
        Row { title: "Is it broken, for whom, since when", panels: broken },
        Row { title: "Traffic, errors, latency", panels: traffic },
        Row { title: "Causes", panels: causes },
    ];
    Board { name: "webhooks", title: "Webhooks", instances: "worker_build_info", rows }
}

fn payments() -> Board {
    let unstored = in_an_hour("edge_stripe_events_total", ",outcome=\"unstored\"");
    let broken = vec![
        stat("Do payments count?", "s", Above(60.0, 300.0), worst("worker_stripe_events_waiting_oldest_seconds"))
            .normal("Age of the oldest of Stripe's events that is to be applied. Normal: 0 to a few seconds."),
        stat("Do events miss their order?", "s", Above(600.0, 3600.0), worst("worker_stripe_events_parked_oldest_seconds"))
            .normal("Age of the oldest event whose order is not there. Normal: 0; an hour means somebody else's events."),
        stat("Could events not be stored?", "none", Above(1.0, 10.0), unstored).normal("In an hour; Stripe sends them again. Normal: 0."),
        stat("Are events forged?", "none", Above(1.0, 100.0), in_an_hour("edge_stripe_events_total", ",outcome=\"unsigned\""))
            .normal("Events without a valid signature in an hour. Normal: 0; many: a wrong signing secret."),
        stat(
            "Does Stripe answer?",
            "none",
            Above(1.0, 10.0),
            in_an_hour("worker_stripe_requests_total", ",outcome=~\"unavailable|denied\""),
        )
        .normal("Questions that Stripe did not answer in an hour, or to which it did not let us in. Normal: 0."),
        stat("Do paid orders lack keys?", "s", Above(60.0, 3600.0), worst("worker_orders_awaiting_stock_oldest_seconds"))
            .normal("How long the first of them has waited. Normal: 0."),
    ];
    let traffic = vec![
        series("What does Stripe send?", "cps")
            .normal("Events at the edge, by what came of them. Normal: stored and ignored. Empty while Stripe sends nothing.")
            .line("{{outcome}}", rate_by("outcome", "edge_stripe_events_total"))
            .line("there already", rate("edge_stripe_duplicates_total")),
        series("What comes of events?", "cps")
            .normal("Events in the worker. Normal: merged. Empty while Stripe sends nothing.")
            .line("{{outcome}}", rate_by("outcome", "worker_stripe_events_total")),
        series("Can customers pay?", "cps")
            .normal("Questions for a payment, by answer. Normal: ready. Empty while nobody pays in the hosted cart.")
            .line("{{how}}", rate_by("how", "edge_payments_asked_total")),
        series("Are taxes quoted?", "cps")
            .normal("Questions for the tax of an order, by answer. Normal: quoted. Empty while nobody checks out in the hosted cart.")
            .line("{{how}}", rate_by("how", "edge_tax_quotes_total")),
    ];
    let causes = vec![
        series("How many events wait?", "none")
            .normal("To be applied, and parked because their order is not there. Normal: near 0.")
            .line("waiting", worst("worker_stripe_events_waiting"))
            .line("parked", worst("worker_stripe_events_parked")),
        series("How fast is Stripe?", "s")
            .normal("p99 of questions to Stripe. Normal: below 2 s. Empty while nothing is asked.")
            .line("p99", percentile(0.99, "worker_stripe_request_seconds", "$__rate_interval", "")),
        series("What do customers order?", "cps")
            .normal("Orders of the hosted cart and the market, and those given up unpaid. Normal: as sales are. Empty while nobody orders.")
            .line("{{where}}", rate_by("where", "edge_orders_placed_total"))
            .line("given up", rate("worker_orders_expired_total")),
        series("Are tax rates current?", "s")
            .normal("Since the oldest rate in force was last known to be right. Normal: less than your last review of rates; it falls when a newer file is loaded. Empty while no rates are loaded.")
            .line("age", "time() - (min(worker_tax_oldest_as_of_timestamp_seconds{instance=~\"$instance\"}) > 0)"),
    ];
    let rows = vec![
        Row { title: "Is it broken, for whom, since when", panels: broken },
        Row { title: "Traffic, errors, latency", panels: traffic },
        Row { title: "Causes", panels: causes },
    ];
    Board { name: "payments", title: "Payments", instances: "up{job=~\"edge|worker\"}", rows }
}

fn dependencies() -> Board {
    let failing =
        |check: &str| format!("sum(1 - {{__name__=~\"edge_check_ok|worker_check_ok\",check=~\"{check}\",instance=~\"$instance\"}})");
    let process = |metric: &str| format!("{metric}{{job=~\"edge|worker\",instance=~\"$instance\"}}");
    let broken = vec![
        stat("Who misses Postgres?", "none", Above(1.0, 1.0), failing("postgres"))
            .normal("Instances whose check of Postgres fails. Normal: 0. Without Postgres, orders are refused with 503."),
        stat("Who misses Redis?", "none", Above(1.0, 1.0), failing("redis|.*queue.*"))
            .normal("Checks of Redis and its queues that fail. Normal: 0. Without Redis, orders become slower, none is lost."),
        stat("Which other checks fail?", "none", Above(1.0, 1.0), failing("snapshot|.*rates.*"))
            .normal("Checks of what instances have loaded. Normal: 0."),
        stat(
            "Do callers wait for Postgres?",
            "none",
            Above(1.0, 10.0),
            "sum({__name__=~\"(edge|worker)_postgres_waiting\",instance=~\"$instance\"})",
        )
        .normal("Callers waiting for a connection. Normal: 0; more means a pool too small or a slow database."),
        stat(
            "Did tasks have to restart?",
            "none",
            Above(1.0, 10.0),
            "sum(increase({__name__=~\"(edge|worker)_task_restarts_total\",instance=~\"$instance\"}[1h]))",
        )
        .normal("Tasks that should never end, started again in an hour. Normal: 0."),
        stat(
            "Are descriptors used up?",
            "percentunit",
            Above(0.5, 0.8),
            format!("max({} / {})", process("process_open_fds"), process("process_max_fds")),
        )
        .normal("Share of file descriptors in use, worst instance. Normal: below a half."),
    ];
    let causes = vec![
        series("Which checks fail?", "none")
            .normal("1 while a check passes. Normal: 1 for all.")
            .bad(Below(1.0, 1.0))
            .line("{{job}} {{check}}", "min by (job, check) ({__name__=~\"edge_check_ok|worker_check_ok\",instance=~\"$instance\"})"),
        series("Are connections enough?", "none")
            .normal("Connections to Postgres, callers waiting for one, and how many seconds they wait in a second. Normal: nobody waits.")
            .line("{{job}} {{instance}} open", "{__name__=~\"(edge|worker)_postgres_connections\",instance=~\"$instance\"}")
            .line("{{job}} {{instance}} waiting", "{__name__=~\"(edge|worker)_postgres_waiting\",instance=~\"$instance\"}")
            .line("{{job}} {{instance}} waits", "rate({__name__=~\"(edge|worker)_postgres_wait_seconds_total\",instance=~\"$instance\"}[$__rate_interval])"),
        series("How fresh is the snapshot?", "s")
            .normal("Since Postgres last confirmed it. Normal: about a second.")
            .bad(Above(5.0, 30.0))
            .line("{{instance}}", "edge_snapshot_age_seconds{instance=~\"$instance\"}"),
        series("Who uses the processor?", "none")
            .normal("Cores in use, by instance. Normal: below the cores there are.")
            .line("{{job}} {{instance}}", format!("rate({}[$__rate_interval])", process("process_cpu_seconds_total"))),
        series("Are the runtime's threads busy?", "percentunit")
            .normal("Share of time that the threads which do the work spend on it. Normal: below 80 %.")
            .bad(Above(0.8, 0.95))
            .line(
                "{{job}} {{instance}}",
                "sum by (job, instance) (rate({__name__=~\"(edge|worker)_runtime_busy_seconds_total\",instance=~\"$instance\"}[$__rate_interval])) / sum by (job, instance) ({__name__=~\"(edge|worker)_runtime_threads\",instance=~\"$instance\"})",
            ),
        series("Does memory grow?", "bytes")
            .normal("Resident memory. Normal: flat after the first hour.")
            .line("{{job}} {{instance}}", process("process_resident_memory_bytes")),
        series("Did anything restart?", "s")
            .normal("Age of the process. Normal: since the last roll-out.")
            .line("{{job}} {{instance}}", format!("time() - {}", process("process_start_time_seconds"))),
    ];
    let rows = vec![Row { title: "Is it broken, for whom, since when", panels: broken }, Row { title: "Causes", panels: causes }];
    Board { name: "dependencies", title: "Dependencies", instances: "up{job=~\"edge|worker\"}", rows }
}
