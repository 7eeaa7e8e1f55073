<?php

use Illuminate\Foundation\Application;
use Illuminate\Foundation\Configuration\Middleware;

return Application::configure(dirname(__DIR__))
    ->withRouting(web: __DIR__.'/../routes/web.php', api: __DIR__.'/../routes/api.php')
    ->withMiddleware(function (Middleware $middleware) {
        // aionotify passes the cookie on as it is: the token is random, and known by its hash.
        $middleware->encryptCookies(except: ['notifications']);
    })
    ->create();
