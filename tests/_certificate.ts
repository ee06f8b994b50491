/** A certificate for this machine, made by OpenSSL. */
import { isInstalled } from "./_installed.ts";

/** Whether there is an OpenSSL to make one. */
export const hasOpenssl: boolean = await isInstalled("openssl", "version");

/** The files of a certificate for `localhost` and 127.0.0.1, and its key. */
export interface Certificate extends AsyncDisposable {
  readonly cert: string;
  readonly key: string;
  /** The content of `cert`, for clients that are to trust it. */
  readonly pem: string;
  /** Listens with it at a free port. */
  listen(): Deno.TlsListener;
}

/** Makes a certificate, which is gone when it is disposed of. */
export async function makeCertificate(): Promise<Certificate> {
  const folder = await Deno.makeTempDir();
  const [cert, key] = [`${folder}/cert.pem`, `${folder}/key.pem`];
  const config = `${folder}/openssl.cnf`;
  await Deno.writeTextFile(
    config,
    [
      "[req]",
      "prompt = no",
      "distinguished_name = name",
      "x509_extensions = extensions",
      "[name]",
      "CN = localhost",
      "[extensions]",
      "basicConstraints = critical, CA:FALSE",
      "subjectAltName = DNS:localhost, IP:127.0.0.1",
    ].join("\n"),
  );
  const { success, stderr } = await new Deno.Command("openssl", {
    args: [
      ...["req", "-x509", "-config", config, "-days", "2", "-nodes"],
      ...["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
      ...["-out", cert, "-keyout", key],
    ],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  const pem = await Deno.readTextFile(cert);
  const address = { hostname: "127.0.0.1", port: 0 };
  const pair = { cert: pem, key: await Deno.readTextFile(key) };
  return {
    cert,
    key,
    pem,
    listen: () => Deno.listenTls({ ...address, ...pair }),
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}
