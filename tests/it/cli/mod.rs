//! The commands, through the real binary.

mod attach;
mod check;
mod examples;
mod harm;
mod harmed;
mod init;
pub mod least_privilege;
mod machine;
mod rights;
mod setup;
mod status;
mod store_versions;
mod teardown;
mod terminal;
mod usage;

/// A table that anybody can watch, and a rule on it.
const PAYMENTS: &str = "create table payments (id bigint generated always as identity primary key, \
     tenant_id text not null, status text not null)";

const PAYMENT_RULE: &str = "
[[events]]
type = 'payment.received'
table = 'public.payments'
on = ['insert']
";

/// A second table and its rule.
const LEADS: &str = "create table leads (id bigint generated always as identity primary key, tenant_id text not null)";

const LEAD_RULE: &str = "
[[events]]
type = 'customer.created'
table = 'public.leads'
on = ['insert']
";
