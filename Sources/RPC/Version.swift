// The version of the whole package, which server and tools report.

public enum NeedletailVersion {
  /// This package's version.
  public static var text: String { "0.1.0" }
  /// The version of etcd's API that it follows.
  public static var api: String { "3.4" }
}
