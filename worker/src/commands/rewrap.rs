//! `worker secrets rewrap`: seals and digests everything anew under the newest secrets. May be stopped and started again, and runs beside
//! working workers: a value is replaced only while it is the one that was read and nobody holds it. What cannot be opened is left as it is, and told.

use std::collections::BTreeMap;
use std::time::Duration;

use common::ids::OrderId;
use common::job::JOB_PLACE;
use common::license::{self, LicenseDigest, LicenseDigester, LicenseKey};
use common::mode::Mode;
use common::seal::{OpenError, Purpose, Sealer};
use common::secret::SecretList;
use common::webhook::ids::EndpointId;
use serde::Serialize;
use storage::StorageError;
use storage::pg::license_keys::{self, NewDigest};
use storage::pg::rewrap::{self, Resealed, SealedLetter, SealedLicense, Shelf, WebhookSecretOf};
use storage::pg::{Transaction, api_keys, dead_letters, webhook_endpoints};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::Failure;
use super::context::Context;
use super::output::Progress;

/// Values in one transaction: small, because their rows are locked until it ends.
const BATCH: i64 = 500;
/// Passes over the stock: a key that an order holds just then is left to the next one.
const STOCK_PASSES_MAX: usize = 5;
const BETWEEN_PASSES: Duration = Duration::from_millis(100);

/// What became of the values of one kind.
#[derive(Debug, Default, Serialize)]
struct Tally {
    /// Values met.
    seen: u64,
    /// Of these, the ones that are now sealed anew.
    rewrapped: u64,
    /// Of these, the ones that could not be opened.
    unreadable: u64,
    /// Values that had moved, or that an order held, when they were to be replaced.
    #[serde(skip)]
    missed: u64,
}

#[derive(Serialize)]
struct Report {
    license_keys: Tally,
    held_license_keys: Tally,
    order_keys: Tally,
    order_requests: Tally,
    dead_letters: Tally,
    webhook_secrets: Tally,
    digests_rewritten: u64,
    /// By each older secret's id: how much still hangs on it. At zero the secret can be taken away.
    hanging_on_older: Hanging,
    /// Live API keys by pepper.
    api_keys_by_pepper: BTreeMap<String, i64>,
}

#[derive(Serialize)]
struct Hanging {
    sealing: BTreeMap<String, i64>,
    license_digest: BTreeMap<String, i64>,
}

pub async fn run(context: &Context) -> Result<(), Failure> {
    let mut rewrapper = Rewrapper::new(context);
    let mut license_keys = rewrapper.licenses(Shelf::Free).await?;
    for _ in 1..STOCK_PASSES_MAX {
        if license_keys.missed == 0 {
            break;
        }
        tokio::time::sleep(BETWEEN_PASSES).await;
        let rewrapped = license_keys.rewrapped;
        license_keys = rewrapper.licenses(Shelf::Free).await?;
        license_keys.rewrapped += rewrapped;
    }
    let held_license_keys = rewrapper.licenses(Shelf::Held).await?;
    // After the stock: a key that was sold meanwhile is met here.
    let order_keys = rewrapper.licenses(Shelf::Sold).await?;
    let order_requests = rewrapper.order_requests().await?;
    let dead_letters = rewrapper.dead_letters().await?;
    let webhook_secrets = rewrapper.webhook_secrets().await?;
    let Rewrapper { digests_rewritten, first_unreadable, progress, .. } = rewrapper;
    progress.say("counting what hangs on older secrets");

    let (client, secrets) = (context.client().await?, &context.settings.secrets);
    let hanging_on_older = Hanging {
        sealing: older(&secrets.sealing, rewrap::sealed_by_secret(&*client).await?),
        license_digest: older(&secrets.license_digest, rewrap::digests_by_secret(&*client).await?),
    };
    let api_keys_by_pepper = api_keys::good_by_pepper(&*client).await?.into_iter().collect();
    drop(progress);
    let report = Report {
        license_keys,
        held_license_keys,
        order_keys,
        order_requests,
        dead_letters,
        webhook_secrets,
        digests_rewritten,
        hanging_on_older,
        api_keys_by_pepper,
    };
    context.output.show(&report, || report.text(&secrets.api_key_pepper))?;
    match first_unreadable {
        Some(what) => Err(Failure::other(format!("not everything could be opened; what could not is left as it is, the first: {what}"))),
        None => Ok(()),
    }
}

/// How much hangs on each secret but the first, the configured ones that nothing hangs on included.
fn older(secrets: &SecretList, counts: Vec<(String, i64)>) -> BTreeMap<String, i64> {
    let mut older: BTreeMap<String, i64> = secrets.iter().skip(1).map(|secret| (secret.id().to_owned(), 0)).collect();
    older.extend(counts.into_iter().filter(|(id, _)| id != secrets.first().id()));
    older
}

impl Report {
    fn text(&self, peppers: &SecretList) -> String {
        let tally = |what: &str, tally: &Tally| {
            let Tally { seen, rewrapped, unreadable, .. } = tally;
            format!("{what:<22} {seen:>9} seen, {rewrapped:>9} sealed anew, {unreadable:>9} unreadable\n")
        };
        let mut text = tally("license keys in stock", &self.license_keys);
        text += &tally("license keys held", &self.held_license_keys);
        text += &tally("license keys in orders", &self.order_keys);
        text += &tally("order requests", &self.order_requests);
        text += &tally("dead letters", &self.dead_letters);
        text += &tally("webhook secrets", &self.webhook_secrets);
        text += &format!("digests                {:>9} made anew\n\n", self.digests_rewritten);
        for (knob, hanging) in [("sealing", &self.hanging_on_older.sealing), ("license_digest", &self.hanging_on_older.license_digest)] {
            for (id, count) in hanging {
                text += &match count {
                    0 => format!("secrets.{knob}: nothing hangs on {id:?} any more; it can be taken away\n"),
                    count => format!("secrets.{knob}: {count} values still hang on {id:?}; keep it, and run this again\n"),
                };
            }
        }
        for (id, count) in &self.api_keys_by_pepper {
            text += &if id == peppers.first().id() {
                format!("secrets.api_key_pepper: {count} live API keys hang on {id:?}, the newest\n")
            } else {
                format!(
                    "secrets.api_key_pepper: {count} live API keys hang on {id:?}; a hash cannot be made anew, so roll these keys first\n"
                )
            };
        }
        text
    }
}

/// What a sealed value holds, and how it looks sealed by the newest secret, unless it is that already.
type Opened = (Zeroizing<Vec<u8>>, Option<Vec<u8>>);

fn open(sealer: &Sealer, place: &[u8], sealed: &[u8]) -> Result<Opened, OpenError> {
    let plain = sealer.open(place, sealed)?;
    let anew = (!sealer.is_newest(sealed)).then(|| sealer.seal(place, &plain));
    Ok((plain, anew))
}

/// The order whose request a dead letter is: such a letter is sealed as the order's request still.
fn order_given_up(queue: &str, reason: &str) -> Option<OrderId> {
    let (id, _) = reason.strip_prefix("order ").filter(|_| queue == dead_letters::ORDER_REQUEST)?.split_once(':')?;
    OrderId::parse(id).ok()
}

struct Rewrapper<'a> {
    context: &'a Context,
    licenses: Sealer,
    requests: Sealer,
    jobs: Sealer,
    webhooks: Sealer,
    digester: LicenseDigester,
    digests_rewritten: u64,
    first_unreadable: Option<String>,
    progress: Progress,
}

impl<'a> Rewrapper<'a> {
    fn new(context: &'a Context) -> Self {
        let secrets = &context.settings.secrets;
        let sealer = |purpose| Sealer::new(&secrets.sealing, purpose, rand::random());
        Self {
            context,
            licenses: sealer(Purpose::License),
            requests: sealer(Purpose::OrderRequest),
            jobs: sealer(Purpose::Job),
            webhooks: sealer(Purpose::WebhookSecret),
            digester: LicenseDigester::new(&secrets.license_digest),
            digests_rewritten: 0,
            first_unreadable: None,
            progress: Progress::new(),
        }
    }

    async fn licenses(&mut self, shelf: Shelf) -> Result<Tally, StorageError> {
        let (mut tally, mut after) = (Tally::default(), Uuid::nil());
        let mut client = self.context.pg.client().await?;
        loop {
            let batch = rewrap::licenses(&*client, shelf, after, BATCH).await?;
            let Some(last) = batch.last() else { return Ok(tally) };
            after = last.id;
            tally.seen += batch.len() as u64;
            let mut digests = Digests::default();
            let resealed: Vec<_> = batch.into_iter().filter_map(|license| self.license(license, &mut digests, &mut tally)).collect();
            let tx = client.transaction().await?;
            self.digests_rewritten += digests.write(&tx, &self.context.settings.secrets.license_digest).await?;
            let replaced = rewrap::replace_licenses(&tx, shelf, &resealed).await?;
            tx.commit().await?;
            tally.replaced(replaced, resealed.len());
            let place = match shelf {
                Shelf::Free => "in stock",
                Shelf::Held => "held",
                Shelf::Sold => "in orders",
            };
            self.progress.say(&format!("license keys {place}: {} seen, {} sealed anew", tally.seen, tally.rewrapped));
        }
    }

    /// Digests one license key, and seals it anew where that is due.
    fn license(&mut self, license: SealedLicense, digests: &mut Digests, tally: &mut Tally) -> Option<Resealed<Uuid>> {
        let SealedLicense { id, store_id, product_id, mode, sealed } = license;
        let what = || format!("license key {id}");
        let (plain, anew) = self.readable(open(&self.licenses, &license::place(store_id, product_id, id), &sealed), what, tally)?;
        let key = std::str::from_utf8(&plain).ok().and_then(|text| LicenseKey::parse(text).ok());
        let key = self.readable(key.ok_or("what it holds is no license key"), what, tally)?;
        for (index, (_, digest)) in self.digester.candidates(store_id, mode, &key).into_iter().enumerate() {
            if index == 0 { &mut digests.newest } else { &mut digests.older }.push((store_id, mode, digest));
        }
        anew.map(|after| Resealed { id, before: sealed, after })
    }

    async fn order_requests(&mut self) -> Result<Tally, StorageError> {
        let (mut tally, mut after) = (Tally::default(), None::<OrderId>);
        let client = self.context.pg.client().await?;
        loop {
            let batch = rewrap::order_requests(&*client, after.as_ref(), BATCH).await?;
            let Some((last, _)) = batch.last() else { return Ok(tally) };
            after = Some(last.clone());
            let seal_anew = |this: &mut Self, (id, sealed): (OrderId, Vec<u8>), tally: &mut Tally| {
                let opened = open(&this.requests, id.as_str().as_bytes(), &sealed);
                let (_, anew) = this.readable(opened, || format!("the request of order {id}"), tally)?;
                anew.map(|after| Resealed { id, before: sealed, after })
            };
            tally.seen += batch.len() as u64;
            let resealed: Vec<_> = batch.into_iter().filter_map(|request| seal_anew(self, request, &mut tally)).collect();
            tally.replaced(rewrap::replace_order_requests(&*client, &resealed).await?, resealed.len());
            self.progress.say(&format!("order requests: {} seen, {} sealed anew", tally.seen, tally.rewrapped));
        }
    }

    async fn dead_letters(&mut self) -> Result<Tally, StorageError> {
        let (mut tally, mut after) = (Tally::default(), Uuid::nil());
        let client = self.context.pg.client().await?;
        loop {
            let batch = rewrap::dead_letters(&*client, after, BATCH).await?;
            let Some(last) = batch.last() else { return Ok(tally) };
            after = last.id;
            tally.seen += batch.len() as u64;
            let resealed: Vec<_> = batch.into_iter().filter_map(|letter| self.dead_letter(letter, &mut tally)).collect();
            tally.replaced(rewrap::replace_dead_letters(&*client, &resealed).await?, resealed.len());
            self.progress.say(&format!("dead letters: {} seen, {} sealed anew", tally.seen, tally.rewrapped));
        }
    }

    /// Those that sign, and those before them.
    async fn webhook_secrets(&mut self) -> Result<Tally, StorageError> {
        let mut tally = Tally::default();
        let client = self.context.pg.client().await?;
        // The ones before last: a secret that is replaced meanwhile is met there.
        for of in [WebhookSecretOf::Now, WebhookSecretOf::Before] {
            let mut after = Uuid::nil();
            loop {
                let batch = rewrap::webhook_secrets(&*client, of, after, BATCH).await?;
                let Some(&(last, _)) = batch.last() else { break };
                after = last;
                tally.seen += batch.len() as u64;
                let mut resealed = Vec::new();
                for (id, before) in batch {
                    let opened = open(&self.webhooks, &webhook_endpoints::place(id), &before);
                    let opened = self.readable(opened, || format!("a secret of {}", EndpointId(id)), &mut tally);
                    resealed.extend(opened.and_then(|(_, anew)| anew).map(|after| Resealed { id, before, after }));
                }
                tally.replaced(rewrap::replace_webhook_secrets(&*client, of, &resealed).await?, resealed.len());
                self.progress.say(&format!("webhook secrets: {} seen, {} sealed anew", tally.seen, tally.rewrapped));
            }
        }
        Ok(tally)
    }

    fn dead_letter(&mut self, letter: SealedLetter, tally: &mut Tally) -> Option<Resealed<Uuid>> {
        let SealedLetter { id, queue, reason, sealed } = letter;
        let opened = match order_given_up(&queue, &reason) {
            Some(order) => open(&self.requests, order.as_str().as_bytes(), &sealed),
            None => open(&self.jobs, JOB_PLACE, &sealed),
        };
        if let Err(OpenError::Malformed | OpenError::Changed) = opened {
            // Some letters are dead because nobody could ever open them.
            tally.unreadable += 1;
            return None;
        }
        let (_, anew) = self.readable(opened, || format!("dead letter {id}"), tally)?;
        anew.map(|after| Resealed { id, before: sealed, after })
    }

    /// What was read; or `None`, noted.
    fn readable<T>(&mut self, value: Result<T, impl std::fmt::Display>, what: impl Fn() -> String, tally: &mut Tally) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(error) => {
                tally.unreadable += 1;
                self.first_unreadable.get_or_insert_with(|| format!("{}: {error}", what()));
                None
            }
        }
    }
}

impl Tally {
    fn replaced(&mut self, replaced: u64, due: usize) {
        self.rewrapped += replaced;
        self.missed += due as u64 - replaced;
    }
}

/// The digests of one batch of license keys: those to have, and those that they take the place of.
#[derive(Default)]
struct Digests {
    newest: Vec<(i64, Mode, LicenseDigest)>,
    older: Vec<(i64, Mode, LicenseDigest)>,
}

impl Digests {
    /// Returns how many of the newest were not there yet.
    async fn write(mut self, tx: &Transaction<'_>, secrets: &SecretList) -> Result<u64, StorageError> {
        // Sorted, as an import sorts: who claims digests in one order never waits in a circle.
        self.newest.sort_unstable_by_key(|&(_, _, digest)| digest);
        let secret_id = secrets.first().id();
        let new = |&(store_id, mode, digest): &(i64, Mode, LicenseDigest)| NewDigest { store_id, mode, digest, secret_id };
        let claimed = license_keys::claim_digests(tx, &self.newest.iter().map(new).collect::<Vec<_>>()).await?;
        rewrap::forget_digests(tx, &self.older).await?;
        Ok(claimed.len() as u64)
    }
}
