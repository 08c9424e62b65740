-- What a product is for tax. In a file of its own: no migration locks two tables that are there already.

alter table products add column tax_category text not null default 'standard';
