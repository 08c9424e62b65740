//! nginx and HAProxy as they are put in front of an edge, on loopback, in a folder of their own.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use tempfile::TempDir;
use testkit::process::Process;
use testkit::servers::{Host, free_port};

use crate::stage::PATIENCE;

/// Which proxy, and whether it passes on what it need not.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Nginx { is_lax: bool },
    Haproxy { is_lax: bool },
}

/// A running proxy. Killed with its test.
pub struct Front {
    pub address: SocketAddr,
    _process: Process,
    folder: TempDir,
}

impl Front {
    pub async fn start(kind: Kind, edge: SocketAddr) -> Self {
        tokio::task::spawn_blocking(move || Self::launch(kind, edge)).await.expect("a thread")
    }

    fn launch(kind: Kind, edge: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port().expect("a port")));
        let file = folder.path().join("configuration");
        let host = Host::of_this_checkout(std::env::var_os("PATH").unwrap_or_default()).expect("a host");
        let program = |name| host.program(name, &|line| eprintln!("{line}")).expect("a proxy");
        let (configuration, launch) = match kind {
            Kind::Nginx { is_lax } => {
                let launch = program("nginx").arg("-p").arg(folder.path()).arg("-e").arg(folder.path().join("errors")).arg("-c").arg(&file);
                (nginx(folder.path(), address, edge, is_lax), launch)
            }
            Kind::Haproxy { is_lax } => (haproxy(address, edge, is_lax), program("haproxy").arg("-db").arg("-f").arg(&file)),
        };
        fs::write(&file, configuration).expect("a file");
        let mut process = launch.start(&folder.path().join("output")).expect("a proxy");
        process.wait_until(PATIENCE, || TcpStream::connect(address).is_ok()).expect("a proxy that listens");
        Self { address, _process: process, folder }
    }

    /// The names of the requests that it passed on to the edge, `-` for those without.
    pub fn passed_on(&self) -> Vec<String> {
        let said = ["requests", "output"].map(|name| fs::read(self.folder.path().join(name)).unwrap_or_default()).concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        said.lines().filter_map(|line| line.strip_prefix("to edge: ").map(str::to_owned)).collect()
    }
}

/// One process, no pieces left behind: a master's children would outlive it.
fn nginx(folder: &Path, address: SocketAddr, edge: SocketAddr, is_lax: bool) -> String {
    let folder = folder.display();
    let temporary: String =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {folder}/{name};\n")).concat();
    let (server, location, host) = if is_lax {
        ("ignore_invalid_headers off; underscores_in_headers on; merge_slashes off;", "proxy_request_buffering off;", "$http_host")
    } else {
        ("", "", "$host")
    };
    format!(
        "daemon off; master_process off; pid {folder}/pid;
events {{ worker_connections 512; }}
http {{
  {temporary}
  map $upstream_addr $where {{ '' 'nowhere'; default 'edge'; }}
  log_format names 'to $where: $http_x_request_id';
  access_log {folder}/requests names;
  client_header_timeout 1s; client_body_timeout 1s; keepalive_timeout 1s; lingering_timeout 1s; lingering_time 2s;
  upstream edge {{ server {edge}; keepalive 16; }}
  server {{
    listen {address};
    {server}
    location / {{
      proxy_pass http://edge;
      proxy_http_version 1.1;
      proxy_next_upstream off;
      proxy_set_header Connection '';
      proxy_set_header Host {host};
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      {location}
    }}
  }}
}}
"
    )
}

fn haproxy(address: SocketAddr, edge: SocketAddr, is_lax: bool) -> String {
    let lax = if is_lax { "option accept-invalid-http-request" } else { "" };
    format!(
        "global
  maxconn 500
  nbthread 1
  log stdout format raw local0
defaults
  mode http
  timeout connect 5s
  timeout client 1s
  timeout server 10s
  timeout http-request 1s
  http-reuse always
  option forwardfor
frontend front
  bind {address}
  log global
  {lax}
  http-request capture req.hdr(x-request-id) len 64
  log-format \"to %s: %[capture.req.hdr(0)]\"
  default_backend edges
backend edges
  server edge {edge}
"
    )
}
