"""A recipe for Conan 2 that packages the tree in which it stands:

    conan create cmake/packaging/conan
"""

import os
import re

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.files import copy, load


class RedisLock(ConanFile):
    name = "redis_lock"
    description = "A distributed lock over Redis with the interface of std::timed_mutex"
    license = "BSD-2-Clause"
    topics = ("redis", "valkey", "lock", "mutex", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"with_tls": [True, False]}
    default_options = {"with_tls": False}
    no_copy_source = True

    @property
    def _project(self):
        return os.path.join(self.recipe_folder, "..", "..", "..")

    def set_version(self):
        header = load(self, os.path.join(self._project, "include", "redis_lock", "version.hpp"))
        parts = (re.search(rf"REDIS_LOCK_VERSION_{part} (\d+)", header) for part in ("MAJOR", "MINOR", "PATCH"))
        self.version = ".".join(part.group(1) for part in parts)

    def export_sources(self):
        copy(self, "LICENSE", src=self._project, dst=self.export_sources_folder)
        copy(self, "include/*", src=self._project, dst=self.export_sources_folder)

    def configure(self):
        if self.options.with_tls:
            self.options["hiredis"].with_ssl = True

    def requirements(self):
        self.requires("hiredis/[>=1.0 <2]", transitive_headers=True, transitive_libs=True)
        if self.options.with_tls:
            self.requires("openssl/[>=1.1.1 <4]", transitive_headers=True, transitive_libs=True)

    def validate(self):
        check_min_cppstd(self, 17)

    def package_id(self):
        self.info.settings.clear()

    def package(self):
        copy(self, "LICENSE", src=self.source_folder, dst=os.path.join(self.package_folder, "licenses"))
        copy(self, "*.hpp", src=os.path.join(self.source_folder, "include"),
             dst=os.path.join(self.package_folder, "include"))

    def package_info(self):
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
        self.cpp_info.set_property("cmake_file_name", "redis_lock")
        self.cpp_info.set_property("cmake_target_name", "redis_lock::redis_lock")
        self.cpp_info.set_property("pkg_config_name", "redis_lock")
        self.cpp_info.requires = ["hiredis::hiredislib"]
        if self.settings.get_safe("os") in ("Linux", "FreeBSD"):
            self.cpp_info.system_libs = ["pthread"]
        if self.options.with_tls:
            self.cpp_info.set_property("cmake_target_aliases", ["redis_lock::tls"])
            self.cpp_info.defines = ["REDIS_LOCK_TLS"]
            self.cpp_info.requires += ["hiredis::hiredis_ssl", "openssl::ssl", "openssl::crypto"]
