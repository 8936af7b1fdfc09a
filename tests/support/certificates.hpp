#pragma once

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "socket.hpp"

namespace redis_lock_test {

/// A certificate with its key, in PEM files.
struct Certificate {
  std::string cert_file, key_file;
};

/// Issues certificates, as files in a temporary folder that goes with it.
class Authority {
 public:
  explicit Authority(const std::string& name) : name_(name), folder_(make_temporary_folder()) {
    const auto own = make_certificate(name_, "", std::chrono::hours{1});
    ca_file_ = own.cert_file;
  }
  Authority(const Authority&) = delete;
  Authority& operator=(const Authority&) = delete;
  ~Authority() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  [[nodiscard]] const std::string& ca_file() const { return ca_file_; }
  [[nodiscard]] const std::string& folder() const { return folder_; }

  /// For `names` such as "DNS:localhost,IP:127.0.0.1". It expires after `validity`, counted from now.
  [[nodiscard]] Certificate issue(const std::string& names,
                                  std::chrono::seconds validity = std::chrono::hours{1}) {
    return make_certificate("certificate " + std::to_string(++issued_), names, validity);
  }

  /// The key of a certificate in a file that needs a pass phrase.
  [[nodiscard]] std::string lock_up(const Certificate& certificate) const {
    const auto path = certificate.key_file + ".encrypted";
    Key key{nullptr, EVP_PKEY_free};
    use_file(certificate.key_file, "r", [&](std::FILE* file) {
      key.reset(PEM_read_PrivateKey(file, nullptr, nullptr, nullptr));
      return key ? 1 : 0;
    });
    use_file(path, "w", [&](std::FILE* file) {
      const unsigned char phrase[]{'o', 'p', 'e', 'n'};
      return PEM_write_PrivateKey(file, key.get(), EVP_aes_128_cbc(), phrase, 4, nullptr, nullptr);
    });
    return path;
  }

 private:
  using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
  using X509Pointer = std::unique_ptr<X509, decltype(&X509_free)>;

  static void require(bool good) {
    if (!good) throw std::runtime_error("OpenSSL cannot make a certificate");
  }

  static void add_extension(X509& certificate, int kind, const std::string& value) {
    const std::unique_ptr<X509_EXTENSION, decltype(&X509_EXTENSION_free)> extension{
        X509V3_EXT_conf_nid(nullptr, nullptr, kind, value.c_str()), X509_EXTENSION_free};
    require(extension && X509_add_ext(&certificate, extension.get(), -1) == 1);
  }

  static void set_name(X509_NAME* name, const std::string& text) {
    const auto* const bytes = reinterpret_cast<const unsigned char*>(text.c_str());
    require(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, bytes, -1, -1, 0) == 1);
  }

  template <class Use>
  static void use_file(const std::string& path, const char* mode, const Use& use) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file{std::fopen(path.c_str(), mode),
                                                               std::fclose};
    require(file && use(file.get()) == 1);
  }

  /// Without names: the authority's own.
  [[nodiscard]] Certificate make_certificate(const std::string& subject, const std::string& names,
                                             std::chrono::seconds validity) {
    Key key{EVP_EC_gen("P-256"), EVP_PKEY_free};
    const X509Pointer certificate{X509_new(), X509_free};
    require(key && certificate);
    X509_set_version(certificate.get(), X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), issued_ + 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -24L * 3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), static_cast<long>(validity.count()));
    set_name(X509_get_subject_name(certificate.get()), subject);
    set_name(X509_get_issuer_name(certificate.get()), name_);
    X509_set_pubkey(certificate.get(), key.get());
    if (names.empty()) {
      add_extension(*certificate, NID_basic_constraints, "critical,CA:TRUE");
    } else {
      add_extension(*certificate, NID_subject_alt_name, names);
    }
    const auto& signer = names.empty() ? key : key_;
    require(X509_sign(certificate.get(), signer.get(), EVP_sha256()) > 0);

    const auto path = folder_ + '/' + std::to_string(issued_);
    use_file(path + ".crt", "w",
             [&](std::FILE* file) { return PEM_write_X509(file, certificate.get()); });
    use_file(path + ".key", "w", [&](std::FILE* file) {
      return PEM_write_PrivateKey(file, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
    });
    if (names.empty()) key_ = std::move(key);
    return {path + ".crt", path + ".key"};
  }

  std::string name_, folder_, ca_file_;
  Key key_{nullptr, EVP_PKEY_free};
  int issued_ = 0;
};

}  // namespace redis_lock_test
