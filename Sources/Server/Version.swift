/// Versions as clients and operators see them.
package enum Version {
  /// This program's.
  package static let program = "0.1.0"
  /// The etcd release whose client-visible behaviour this server follows.
  package static let compatible = "3.5.0"
  /// The same, as a cluster version.
  package static let cluster = "3.5.0"
}
