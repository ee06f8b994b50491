# What `workerd serve` needs to run the worker: see worker.ts.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "worker", worker = .worker),
    # What the worker may dial. Deployed, there is no "private" and no "local".
    (name = "internet", network = (allow = ["public", "private", "local"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:8787", http = (), service = "worker")],
);

const worker :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  compatibilityDate = "2025-10-01",
  # Has SHA-1, which the accept key needs, in node:crypto.
  compatibilityFlags = ["nodejs_compat"],
  bindings = [
    (name = "SERVER", fromEnvironment = "SERVER"),
    (name = "TOKEN", fromEnvironment = "TOKEN"),
  ],
);
