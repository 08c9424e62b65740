//! Tax: what operators have imported can be read, and laid over what this version brings along. If not, no order could be quoted.

use std::sync::Arc;

use common::geo::{DataError, Subdivisions};
use common::tax::{Category, TaxTable};

use super::{Audit, Check, StorageError, count};
use crate::pg::tax_rates;

impl Audit<'_> {
    /// Reads all rates as edges and workers do, and what products are for tax.
    pub(super) async fn taxes(&self) -> Result<Check, StorageError> {
        self.say("checking tax_rates");
        let mut check = Check::new("tax_rates", "Every imported tax rate can be used, and every product's tax category is known.");
        check.examined = count(tax_rates::count(&self.tx).await?) + self.figures.stores;
        let damaged = |error: DataError| StorageError::Corrupt(error.to_string());
        let compiled_in = TaxTable::load(Arc::new(Subdivisions::load().map_err(damaged)?)).map_err(damaged)?;
        match tax_rates::table(&self.tx, &compiled_in).await {
            Ok(_) => {}
            Err(StorageError::Corrupt(problem)) => check.violated(|| problem),
            Err(error) => return Err(error),
        }
        for row in self.tx.query("select tax_category, min(id) from products group by 1", &[]).await? {
            let category: &str = row.get(0);
            if Category::parse(category).is_none() {
                check.violated(|| format!("product {} has a tax category that is none", row.get::<_, i64>(1)));
            }
        }
        Ok(check)
    }
}
