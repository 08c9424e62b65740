//! Logins for edges and workers, which may do what their roles may (`anonymouspay_edge`, `anonymouspay_worker`) and no more: what runs on
//! our own servers runs as it should in production. A database must have been migrated before, which is what makes the roles.

/// A login that is a member of one of the two roles.
#[derive(Clone)]
pub struct Login {
    name: &'static str,
    password: String,
    role: &'static str,
}

impl Login {
    /// For edges. The password goes into a URL and into SQL as it is: letters and digits.
    pub fn of_edge(password: &str) -> Self {
        Self { name: "edge", password: password.to_owned(), role: "anonymouspay_edge" }
    }

    /// For workers.
    pub fn of_worker(password: &str) -> Self {
        Self { name: "worker", password: password.to_owned(), role: "anonymouspay_worker" }
    }

    /// What makes it, or gives it this password when it is there; for a superuser, who keeps the password out of the server's log. Logins
    /// belong to the whole server, like the roles.
    pub fn sql(&self) -> String {
        let Self { name, password, role } = self;
        assert!(password.bytes().all(|byte| byte.is_ascii_alphanumeric()), "a password of letters and digits");
        format!(
            "set log_statement = none; set log_min_error_statement = panic; set log_min_duration_statement = -1;
             do $$ begin create role {name} login; exception when duplicate_object or unique_violation then null; end $$;
             alter role {name} password '{password}';
             grant {role} to {name};"
        )
    }

    /// The same database as this login.
    pub fn url(&self, owner_url: &str) -> String {
        let (_, place) = owner_url.split_once('@').unwrap_or(("", owner_url));
        format!("postgres://{}:{}@{place}", self.name, self.password)
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:***", self.name)
    }
}
