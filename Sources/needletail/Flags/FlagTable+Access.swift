// The flags of etcd's help about who may come in, and about what is told of the server.

extension FlagTable {
  private static let noTLS = "TLS is not served yet, so that http listeners take no certificates"
  private static let noAuth = "authentication is not served yet"
  private static let noTracing = "requests are not traced; slow ones are logged"

  static let security = Group(
    title: "Security",
    flags: [
      Flag("cert-file", .text, "", .idle(noTLS), "The certificate for clients."),
      Flag("key-file", .text, "", .idle(noTLS), "Its key."),
      Flag("client-cert-file", .text, "", .idle(noTLS), "The certificate as a client of peers."),
      Flag("client-key-file", .text, "", .idle(noTLS), "Its key."),
      Flag("client-cert-auth", .boolean, "false", .idle(noTLS), "Clients must have certificates."),
      Flag("client-crl-file", .text, "", .idle(noTLS), "Certificates of clients that are revoked."),
      Flag("client-cert-allowed-hostname", .text, "", .idle(noTLS), "The host that they must name."),
      Flag("trusted-ca-file", .text, "", .idle(noTLS), "Who signs them."),
      Flag("auto-tls", .boolean, "false", .idle(noTLS), "Make a certificate for clients."),
      Flag("peer-cert-file", .text, "", .idle(alone), "The certificate for peers."),
      Flag("peer-key-file", .text, "", .idle(alone), "Its key."),
      Flag("peer-client-cert-file", .text, "", .idle(alone), "The certificate as a client of peers."),
      Flag("peer-client-key-file", .text, "", .idle(alone), "Its key."),
      Flag("peer-client-cert-auth", .boolean, "false", .idle(alone), "Peers must have certificates."),
      Flag("peer-trusted-ca-file", .text, "", .idle(alone), "Who signs them."),
      Flag("peer-cert-allowed-cn", .text, "", .idle(alone), "The name that they must have."),
      Flag("peer-cert-allowed-hostname", .text, "", .idle(alone), "The host that they must name."),
      Flag("peer-auto-tls", .boolean, "false", .idle(alone), "Make a certificate for peers."),
      Flag("peer-crl-file", .text, "", .idle(alone), "Certificates of peers that are revoked."),
      Flag(
        "peer-skip-client-san-verification", .boolean, "false",
        aliases: ["experimental-peer-skip-client-san-verification"], .idle(alone), "Don't check peers' names."),
      Flag("self-signed-cert-validity", .integer, "1", .idle(noTLS), "Years that a made certificate lasts."),
      Flag("cipher-suites", .text, "", .idle(noTLS), "TLS' cipher suites."),
      Flag("tls-min-version", .text, "TLS1.2", .idle(noTLS), "The oldest TLS."),
      Flag("tls-max-version", .text, "", .idle(noTLS), "The newest TLS."),
      Flag("cors", .text, "*", "Origins of web pages that may use the HTTP face; * or nothing is all of them."),
      Flag(
        "host-whitelist", .text, "*", "Host names that HTTP requests may be for; * or nothing is all of them."),
    ])

  static let auth = Group(
    title: "Auth",
    flags: [
      Flag("auth-token", .text, "simple", .idle(noAuth), "The kind of tokens: simple or jwt,…"),
      Flag("auth-token-ttl", .integer, "300", .idle(noAuth), "Seconds that a simple token lives."),
      Flag("bcrypt-cost", .integer, "10", .idle(noAuth), "The cost of hashing passwords."),
    ])

  static let monitoring = Group(
    title: "Profiling and monitoring",
    flags: [
      Flag(
        "enable-pprof", .boolean, "false",
        .idle("there is no Go runtime to profile; perf shows this program's functions"), "Serve profiles."),
      Flag(
        "metrics", .text, "basic", "What /metrics has: basic, or extensive with a histogram for each method."),
      Flag(
        "listen-metrics-urls",
        "Where besides metrics and health are served, and nothing else: http://host:port or unix://path."),
      Flag(
        "enable-distributed-tracing", .boolean, "false", aliases: ["experimental-enable-distributed-tracing"],
        .idle(noTracing), "Trace requests by OpenTelemetry."),
      Flag(
        "distributed-tracing-address", .text, "localhost:4317", aliases: ["experimental-distributed-tracing-address"],
        .idle(noTracing), "Where traces go."),
      Flag(
        "distributed-tracing-service-name", .text, "etcd",
        aliases: ["experimental-distributed-tracing-service-name"], .idle(noTracing), "Under what name."),
      Flag(
        "distributed-tracing-instance-id", .text, "", aliases: ["experimental-distributed-tracing-instance-id"],
        .idle(noTracing), "Under what number."),
      Flag(
        "distributed-tracing-sampling-rate", .integer, "0",
        aliases: ["experimental-distributed-tracing-sampling-rate"], .idle(noTracing), "How many of a million."),
    ])

  static let logging = Group(
    title: "Logging",
    flags: [
      Flag("log-level", .text, "info", "What is logged: debug, info, warn, error, panic or fatal."),
      Flag(
        "log-outputs", .text, "default", aliases: ["log-output"],
        "Where to: default (stderr), stderr, stdout or files, separated by commas."),
      Flag("log-format", .text, "console", "How: console, a line of words; or json, an object a line as etcd's."),
      Flag(
        "logger", .text, "console", "zap is --log-format json, capnslog --log-format console, where that isn't given."),
      Flag("debug", .boolean, "false", "The same as --log-level debug."),
      Flag(
        "log-package-levels", .text, "", .idle("all parts have the level of --log-level"),
        "Levels of single packages."),
      Flag(
        "enable-log-rotation", .boolean, "false",
        .idle("files are appended to: logrotate with copytruncate cuts them"), "Begin new log files."),
      Flag(
        "log-rotation-config-json", .text,
        #"{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}"#,
        .idle("files are appended to"), "When new log files begin."),
    ])

  private static let noProxy = "there is no v2 proxy"

  static let past = Group(
    title: "Of etcd's past",
    flags: [
      Flag("proxy", .text, "off", .refused(noProxy), "Be a proxy: off, readonly or on."),
      Flag("proxy-failure-wait", .integer, "5000", .idle(noProxy), "The proxy's times."),
      Flag("proxy-refresh-interval", .integer, "30000", .idle(noProxy), "The proxy's times."),
      Flag("proxy-dial-timeout", .integer, "1000", .idle(noProxy), "The proxy's times."),
      Flag("proxy-write-timeout", .integer, "5000", .idle(noProxy), "The proxy's times."),
      Flag("proxy-read-timeout", .integer, "0", .idle(noProxy), "The proxy's times."),
      Flag(
        "experimental-enable-v2v3", .text, "", .refused("the v2 API is not served"),
        "Serve v2 requests under a prefix."),
      Flag("config-file", .text, "", "A YAML file with all of these; other flags and variables are then ignored."),
    ])
}
