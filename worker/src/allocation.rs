//! Giving license keys to orders, inside one transaction of the caller's. Nothing here commits, and an order either gets all of its keys
//! or none.

use std::collections::{BTreeMap, HashMap, VecDeque};

use common::fulfill::{KEYS_MAX, Shortage};
use common::job::NewOrder;
use common::license::{self, LicenseDigest, LicenseDigester, LicenseKey, Pattern};
use common::mode::Mode;
use common::order::SoldItem;
use common::seal::Sealer;
use storage::StorageError;
use storage::crash_point::reach;
use storage::pg::Transaction;
use storage::pg::license_keys::{self, Busy, FreeKey, Need, NewDigest};
use storage::pg::order_items::{self, Item, SoldKey};
use storage::pg::products::{self, Product, Source};
use uuid::Uuid;

/// How often generated keys that exist already are generated again. With 80 random bits once is never seen.
const GENERATE_TRIES: u32 = 8;

/// What an order got: what is stored, and what its buyer is told.
#[derive(Debug)]
pub struct Sale {
    /// Items with sealed keys.
    pub items: Vec<Item>,
    /// The same with keys in clear.
    pub sold: Vec<SoldItem>,
}

/// Seals, opens and tells apart license keys.
#[derive(Debug)]
pub struct Allocator {
    /// Seals and opens license keys.
    pub sealer: Sealer,
    digester: LicenseDigester,
}

/// The products that some orders ask for.
#[derive(Debug, Default)]
pub struct Catalogue(HashMap<(i64, String), Product>);

impl Catalogue {
    /// Reads the products of these orders.
    pub async fn of(tx: &Transaction<'_>, orders: &[&NewOrder]) -> Result<Self, StorageError> {
        let mut wanted: Vec<(i64, &str)> =
            orders.iter().flat_map(|order| order.request.items.iter().map(|item| (order.store_id, item.sku.as_str()))).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let found = products::find(tx, &wanted).await?;
        Ok(Self(found.into_iter().map(|product| ((product.store_id, product.sku.as_str().to_owned()), product)).collect()))
    }

    /// The order's first SKU that the store does not sell.
    pub fn unknown<'a>(&self, order: &'a NewOrder) -> Option<&'a common::cart::Sku> {
        order.request.items.iter().map(|item| &item.sku).find(|sku| self.get(order, sku.as_str()).is_none())
    }

    fn get(&self, order: &NewOrder, sku: &str) -> Option<&Product> {
        self.0.get(&(order.store_id, sku.to_owned()))
    }
}

type PoolKey = (i64, Mode);

impl Allocator {
    /// An allocator. `sealer` must be one for the purpose `license`.
    pub fn new(sealer: Sealer, digester: LicenseDigester) -> Self {
        Self { sealer, digester }
    }

    /// Takes keys for these orders, whose SKUs must all be in the catalogue. `None` for an order that fell short; what it could have had
    /// is back in the stock.
    pub async fn allocate(
        &self,
        tx: &Transaction<'_>,
        orders: &[&NewOrder],
        catalogue: &Catalogue,
        busy: Busy,
    ) -> Result<Vec<Option<Sale>>, StorageError> {
        let mut stock = self.take(tx, orders, catalogue, busy).await?;
        let short: Vec<bool> = orders.iter().map(|order| !reserve(order, catalogue, &mut stock)).collect();
        let mut generated = self.generate(tx, orders, &short, catalogue).await?;
        let mut sales = Vec::with_capacity(orders.len());
        for (order, short) in orders.iter().zip(short) {
            sales.push(if short { None } else { Some(self.sell(order, catalogue, &mut stock, &mut generated)?) });
        }
        let left: Vec<FreeKey> = stock.into_values().flat_map(|pool| pool.keys).collect();
        if !left.is_empty() {
            license_keys::insert(tx, &left).await?;
            reach("allocate.left_returned").await;
        }
        Ok(sales)
    }

    async fn take(
        &self,
        tx: &Transaction<'_>,
        orders: &[&NewOrder],
        catalogue: &Catalogue,
        busy: Busy,
    ) -> Result<BTreeMap<PoolKey, Pool>, StorageError> {
        // Sorted: two transactions that wait for keys must wait in the same order.
        let mut needs: BTreeMap<PoolKey, i64> = BTreeMap::new();
        for order in orders {
            for item in &order.request.items {
                if let Some(Product { id, source: Source::Pool, .. }) = catalogue.get(order, item.sku.as_str()) {
                    *needs.entry((*id, order.mode)).or_default() += i64::from(item.quantity);
                }
            }
        }
        let mut stock: BTreeMap<PoolKey, Pool> = needs.keys().map(|&pool| (pool, Pool::default())).collect();
        if needs.is_empty() {
            return Ok(stock);
        }
        let needs: Vec<Need> = needs.into_iter().map(|((product_id, mode), count)| Need { product_id, mode, count }).collect();
        let mut taken = license_keys::take(tx, &needs, busy).await?;
        reach("allocate.taken").await;
        // Oldest first, whatever order the database returned them in.
        taken.sort_unstable_by_key(|key| key.id);
        for key in taken {
            stock.entry((key.product_id, key.mode)).or_default().keys.push_back(key);
        }
        Ok(stock)
    }

    /// Makes the keys of generated products, for orders that did not fall short, and claims their digests.
    async fn generate(
        &self,
        tx: &Transaction<'_>,
        orders: &[&NewOrder],
        short: &[bool],
        catalogue: &Catalogue,
    ) -> Result<HashMap<(i64, Mode), Vec<LicenseKey>>, StorageError> {
        let mut wanted: Vec<(i64, i64, Mode, &Pattern)> = Vec::new();
        for (order, _) in orders.iter().zip(short).filter(|(_, short)| !**short) {
            for item in &order.request.items {
                if let Some(Product { id, source: Source::Generator(pattern), .. }) = catalogue.get(order, item.sku.as_str()) {
                    wanted.extend(std::iter::repeat_n((order.store_id, *id, order.mode, pattern), item.quantity as usize));
                }
            }
        }
        let mut made: HashMap<(i64, Mode), Vec<LicenseKey>> = HashMap::new();
        for _ in 0..GENERATE_TRIES {
            if wanted.is_empty() {
                return Ok(made);
            }
            let keys: Vec<LicenseKey> = wanted.iter().map(|(.., pattern)| pattern.generate(rand::random::<u64>)).collect();
            let digests: Vec<(&str, LicenseDigest)> =
                wanted.iter().zip(&keys).map(|((store_id, _, mode, _), key)| self.digester.digest(*store_id, *mode, key)).collect();
            let new: Vec<NewDigest<'_>> = wanted
                .iter()
                .zip(&digests)
                .map(|(&(store_id, _, mode, _), &(secret_id, digest))| NewDigest { store_id, mode, digest, secret_id })
                .collect();
            let claimed: std::collections::HashSet<LicenseDigest> = license_keys::claim_digests(tx, &new).await?.into_iter().collect();
            reach("allocate.claimed").await;
            let mut again = Vec::new();
            for ((wanted, key), (_, digest)) in wanted.into_iter().zip(keys).zip(digests) {
                if claimed.contains(&digest) {
                    made.entry((wanted.1, wanted.2)).or_default().push(key);
                } else {
                    again.push(wanted);
                }
            }
            wanted = again;
        }
        Err(StorageError::Corrupt("a generator makes only license keys that exist already: give it a pattern with more X".into()))
    }

    fn sell(
        &self,
        order: &NewOrder,
        catalogue: &Catalogue,
        stock: &mut BTreeMap<PoolKey, Pool>,
        generated: &mut HashMap<(i64, Mode), Vec<LicenseKey>>,
    ) -> Result<Sale, StorageError> {
        let (mut items, mut sold) = (Vec::new(), Vec::new());
        for (line, wanted) in order.request.items.iter().enumerate() {
            let Some(product) = catalogue.get(order, wanted.sku.as_str()) else {
                return Err(StorageError::Corrupt(format!("product {} is gone", wanted.sku)));
            };
            let pool = (product.id, order.mode);
            let (mut keys, mut license_keys) = (Vec::new(), Vec::new());
            for _ in 0..wanted.quantity {
                let (key, license_key) = match &product.source {
                    Source::Pool => {
                        let free = stock.get_mut(&pool).and_then(Pool::sell).ok_or_else(|| missing(product))?;
                        let key = SoldKey { id: free.id, sealed: free.sealed };
                        let license_key = order_items::open(&self.sealer, order.store_id, product.id, &key)?;
                        (key, license_key)
                    }
                    Source::Generator(_) => {
                        let license_key = generated.get_mut(&pool).and_then(Vec::pop).ok_or_else(|| missing(product))?;
                        let id = Uuid::now_v7();
                        let place = license::place(order.store_id, product.id, id);
                        (SoldKey { id, sealed: self.sealer.seal(&place, license_key.expose().as_bytes()) }, license_key)
                    }
                };
                keys.push(key);
                license_keys.push(license_key);
            }
            let (line, quantity) = (line as i32, wanted.quantity as i32);
            items.push(Item { line, product_id: product.id, sku: wanted.sku.clone(), quantity, keys });
            sold.push(SoldItem { sku: wanted.sku.clone(), license_keys });
        }
        Ok(Sale { items, sold })
    }

    /// What each of these orders lacks if it were the only one, as the stock stands for everybody to see: keys that another transaction
    /// has taken and not committed count as there. Empty for an order that has enough.
    pub async fn shortages(
        &self,
        tx: &Transaction<'_>,
        orders: &[&NewOrder],
        catalogue: &Catalogue,
    ) -> Result<Vec<Vec<Shortage>>, StorageError> {
        let mut free: HashMap<PoolKey, i64> = HashMap::new();
        let mut shortages = Vec::with_capacity(orders.len());
        for order in orders {
            let mut lacking = Vec::new();
            for item in &order.request.items {
                let Some(Product { id, source: Source::Pool, .. }) = catalogue.get(order, item.sku.as_str()) else { continue };
                let available = match free.get(&(*id, order.mode)) {
                    Some(&available) => available,
                    None => license_keys::count_free(tx, *id, order.mode, KEYS_MAX).await?,
                };
                free.insert((*id, order.mode), available);
                if available < i64::from(item.quantity) {
                    let available = u32::try_from(available).unwrap_or(0);
                    lacking.push(Shortage { sku: item.sku.clone(), requested: item.quantity, available });
                }
            }
            shortages.push(lacking);
        }
        Ok(shortages)
    }
}

fn missing(product: &Product) -> StorageError {
    StorageError::Corrupt(format!("product {} was reserved and is not there", product.id))
}

/// Keys of one product that this transaction holds, and how many of them are spoken for.
#[derive(Debug, Default)]
struct Pool {
    keys: VecDeque<FreeKey>,
    reserved: usize,
}

impl Pool {
    fn sell(&mut self) -> Option<FreeKey> {
        self.reserved = self.reserved.saturating_sub(1);
        self.keys.pop_front()
    }
}

/// Speaks for everything an order needs from the pools, or for nothing.
fn reserve(order: &NewOrder, catalogue: &Catalogue, stock: &mut BTreeMap<PoolKey, Pool>) -> bool {
    let mut needs = Vec::new();
    for item in &order.request.items {
        if let Some(Product { id, source: Source::Pool, .. }) = catalogue.get(order, item.sku.as_str()) {
            needs.push(((*id, order.mode), item.quantity as usize));
        }
    }
    let enough = |(pool, count): &(PoolKey, usize)| stock.get(pool).is_some_and(|pool| pool.keys.len() - pool.reserved >= *count);
    if !needs.iter().all(enough) {
        return false;
    }
    for (pool, count) in needs {
        if let Some(pool) = stock.get_mut(&pool) {
            pool.reserved += count;
        }
    }
    true
}
