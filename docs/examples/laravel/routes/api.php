<?php

use Illuminate\Http\Request;
use Illuminate\Support\Facades\Route;

// Answers aionotify, whose a token is. Not with the middleware auth:sanctum, which would redirect to
// the page to sign in: aionotify follows no redirects.
Route::get('/v1/is_user_auth', function (Request $request) {
    $user = $request->user('sanctum') ?? abort(401);

    return ['user_id' => $user->id];
});
